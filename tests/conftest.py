"""Fixtures of all tests."""

import os
from pathlib import Path

import pytest

from infra.models import pull
from infra.settings import Settings
from shared.errors import PipelineError
from shared.weights import DEFAULT_MODELS


@pytest.fixture(scope="session")
def models() -> Path:
    """The models folder with the default models in it; without a connection the test is skipped, but not in CI."""
    folder = Settings().models_dir
    try:
        for alias in DEFAULT_MODELS.values():
            pull(alias, folder)
    except PipelineError as error:
        if error.code == "model.unavailable" and os.environ.get("CI") != "true":
            pytest.skip(f"model files cannot be fetched: {error}")
        raise
    return folder
