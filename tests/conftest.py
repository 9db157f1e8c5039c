"""Fixtures of all tests."""

from pathlib import Path

import pytest

from infra.settings import Settings
from shared.weights import DEFAULT_MODELS
from tests.model_files import pulled


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """Where model files are cached, as for every command."""
    return Settings().models_dir


@pytest.fixture(scope="session")
def models(models_dir: Path) -> Path:
    """That folder, with the default models in it."""
    for alias in DEFAULT_MODELS.values():
        pulled(alias, models_dir)
    return models_dir
