"""All settings, read from ``EARWITNESS_*`` environment variables in one place."""

from pathlib import Path
from typing import Any, Literal

from platformdirs import user_cache_path, user_data_path
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import PipelineError
from shared.media import MediaLimits


class Settings(BaseSettings):
    """Settings of one deployment.

    Attributes:
        cloud: Which adapters :mod:`infra.wiring` builds.
        public_url: Where clients and GPU jobs reach this deployment, without a trailing slash.
        uploads_bucket: Where recordings arrive.
        results_bucket: Where artifacts are written.
        max_size_bytes: Largest upload.
        max_duration_s: Longest recording.
        upload_expires_s: How long an upload URL is good, and a job waits for its upload.
        upload_grace_s: How much longer a job waits for an upload that began in time.
        lease_s: How long a claimed stage is left alone before another dispatcher takes it over.
        probe_timeout_s: Limit for looking at one upload.
        data_dir: State of the local cloud.
        models_dir: Where model files are cached.
    """

    model_config = SettingsConfigDict(env_prefix="EARWITNESS_", frozen=True, extra="ignore")

    cloud: Literal["local"] = "local"
    public_url: str = "http://127.0.0.1:8080"
    uploads_bucket: str = "earwitness-uploads"
    results_bucket: str = "earwitness-results"
    max_size_bytes: int = Field(default=MediaLimits().max_size_bytes, gt=0)
    max_duration_s: float = Field(default=MediaLimits().max_duration_s, gt=0)
    upload_expires_s: float = Field(default=24 * 3600.0, gt=0, le=7 * 24 * 3600.0)
    upload_grace_s: float = Field(default=3600.0, ge=0)
    lease_s: float = Field(default=15.0, gt=0)
    probe_timeout_s: float = Field(default=20.0, gt=0)
    data_dir: Path = Field(default_factory=lambda: user_data_path("earwitness"))
    models_dir: Path = Field(default_factory=lambda: user_cache_path("earwitness") / "models")

    @property
    def limits(self) -> MediaLimits:
        """The limits as the domain takes them."""
        return MediaLimits(max_size_bytes=self.max_size_bytes, max_duration_s=self.max_duration_s)


def load_settings(**given: Any) -> Settings:
    """Settings from the environment, and what is given here.

    Raises:
        PipelineError: ``request.invalid``, with the variable's name.
    """
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = f"EARWITNESS_{'_'.join(str(part) for part in first['loc'])}".upper()
        raise PipelineError("request.invalid", f"{name}: {first['msg']}.") from error
