"""All settings, read from ``EARWITNESS_*`` environment variables in one place."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_cache_path, user_data_path
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.errors import PipelineError
from shared.media import MediaLimits

_MIN_KEY_CHARACTERS = 32


def _separated(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class Settings(BaseSettings):
    """Settings of one deployment.

    Attributes:
        cloud: Which adapters a function works with: ``local``, or ``google`` with Modal.
        public_url: Where clients reach this deployment, without a trailing slash. The local cloud knows; without it,
            what the API says of itself are paths.
        report_url: Where GPU jobs reach ``on_report``; by default under ``public_url``, as the local cloud serves it.
        report_keys: Secrets that report tokens are signed with, separated by commas: the first signs, all are accepted.
            A new one goes to the end first, everywhere, and to the front in a second deployment: a function that does
            not know it yet would refuse what another has signed.
        project: Google Cloud project.
        firestore_database: Name of its Firestore database.
        events_topic: Name of its Pub/Sub topic.
        dead_letters_subscription: Name of the Pub/Sub subscription that keeps what no function would take.
        authenticate: Who checks callers of functions that only the cloud itself calls: each function, by Google's
            identity tokens (``oidc``), or the platform in front of it, such as Cloud Run's IAM (``platform``).
        audience: The audience that callers' tokens must be for.
        callers: Service accounts that may call, separated by commas.
        modal_environment: Modal environment that GPU stages run in; its default one if left out.
        modal_timeout_s: Limit of one request to Modal.
        api_access: Who checks callers of the API: the API itself, by its keys (``keys``), or the platform in front of
            it (``platform``), for the one tenant ``default``.
        requests_per_minute: How often an API key may be used that has no limit of its own; on each instance of the API.
        max_active_jobs: How many jobs of a tenant that have not ended there may be before no more are accepted; any
            number if left out. Several that are created in the same moment may go beyond it.
        transcription_wait_s: How long ``/v1/audio/transcriptions`` waits for its job. The platform's own limit of a
            request must be longer.
        cors_origins: Origins whose web pages may call the API, by commas; ``*`` for any.
        follow_interval_s: How often a job that someone follows is looked at, where nobody tells of its changes.
        stream_max_s: How long a stream of events goes on before its client has to resume it.
        metrics_token: Bearer token that ``/metrics`` demands; there are no metrics without one.
        log_format: How log lines look: ``text`` for people, or ``json`` as Cloud Logging takes them.
        sentry_dsn: Where defects are sent; nowhere if left out.
        uploads_bucket: Where recordings arrive.
        results_bucket: Where artifacts are written.
        max_size_bytes: Largest upload.
        max_duration_s: Longest recording.
        upload_expires_s: How long an upload URL is good, and a job waits for its upload. Longer than twelve hours
            needs a signing key of one's own: IAM replaces its keys, and with them URLs may end sooner.
        upload_late_s: After how long ``sweep`` looks for an upload whose finalize event has not come; and again after
            twice that, four times that, and so on.
        upload_grace_s: How much longer a job waits for an upload that began in time.
        retention_days: After how many days a job that has ended is deleted with all it has written; never if left out.
        outbound_allow: Networks that webhooks and source URLs may lead to though they are not public, by commas. The
            local cloud allows its own machine unless this says otherwise.
        source_timeout_s: Limit of one try to fetch a source URL, from the look-up of the name to its last byte.
        source_retry_for_s: How long fetching is tried again after what may pass.
        source_buckets: Buckets that a tenant may name objects of, as ``TENANT=BUCKET``, by commas. Its own part of
            the inbox it always may.
        reuse_days: For how many days the results of a job are taken for another one of the same tenant with the same
            recording and options; never where this is 0.
        deliveries_topic: Name of the Pub/Sub topic of webhook deliveries.
        webhook_timeout_s: Limit of one attempt, from the look-up of the name to the end of the answer.
        webhook_first_retry_s: The pause after a first failed attempt; each is four times the one before, with jitter.
        webhook_max_retry_s: The longest pause.
        webhook_retry_for_s: How long a delivery is tried.
        webhook_pause_after_s: After how long of failures alone an endpoint is paused.
        lease_s: How long a claimed stage is left alone before another dispatcher takes it over.
        sweep_budget_s: How long one sweep goes on taking up more; the next one goes on from there.
        probe_timeout_s: Limit for looking at one upload.
        data_dir: State of the local cloud.
        models_dir: Where model files are cached.
    """

    model_config = SettingsConfigDict(env_prefix="EARWITNESS_", frozen=True, extra="ignore")

    cloud: Literal["local", "google"] = "local"
    public_url: str = ""
    report_url: str = ""
    report_keys: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_separated)] = ()
    project: str = ""
    firestore_database: str = "(default)"
    events_topic: str = "earwitness-events"
    dead_letters_subscription: str = "earwitness-dead-letters"
    authenticate: Literal["oidc", "platform"] = "oidc"
    audience: str = ""
    callers: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_separated)] = ()
    modal_environment: str | None = None
    modal_timeout_s: float = Field(default=4.0, gt=0)
    api_access: Literal["keys", "platform"] = "keys"
    requests_per_minute: int = Field(default=600, ge=1)
    max_active_jobs: int | None = Field(default=None, ge=1)
    transcription_wait_s: float = Field(default=300.0, gt=0)
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_separated)] = ()
    follow_interval_s: float = Field(default=1.0, gt=0)
    stream_max_s: float = Field(default=240.0, gt=0)
    metrics_token: SecretStr | None = None
    log_format: Literal["text", "json"] = "text"
    sentry_dsn: SecretStr | None = None
    uploads_bucket: str = "earwitness-uploads"
    results_bucket: str = "earwitness-results"
    max_size_bytes: int = Field(default=MediaLimits().max_size_bytes, gt=0)
    max_duration_s: float = Field(default=MediaLimits().max_duration_s, gt=0)
    upload_expires_s: float = Field(default=12 * 3600.0, gt=0, le=7 * 24 * 3600.0)
    upload_late_s: float = Field(default=60.0, gt=0)
    upload_grace_s: float = Field(default=3600.0, ge=0)
    retention_days: float | None = Field(default=None, gt=0)
    outbound_allow: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_separated)] = ()
    source_timeout_s: float = Field(default=540.0, gt=0, le=580.0)  # a delivery has ten minutes
    source_retry_for_s: float = Field(default=900.0, gt=0)
    source_buckets: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_separated)] = ()
    reuse_days: float = Field(default=30.0, ge=0)
    deliveries_topic: str = "earwitness-deliveries"
    webhook_timeout_s: float = Field(default=10.0, gt=0, le=60.0)
    webhook_first_retry_s: float = Field(default=5.0, gt=0)
    webhook_max_retry_s: float = Field(default=6 * 3600.0, gt=0)
    webhook_retry_for_s: float = Field(default=24 * 3600.0, gt=0)
    webhook_pause_after_s: float = Field(default=3 * 24 * 3600.0, gt=0)
    lease_s: float = Field(default=15.0, gt=0)
    sweep_budget_s: float = Field(default=50.0, gt=0)
    probe_timeout_s: float = Field(default=20.0, gt=0)
    data_dir: Path = Field(default_factory=lambda: user_data_path("earwitness"))
    models_dir: Path = Field(default_factory=lambda: user_cache_path("earwitness") / "models")

    @field_validator("report_keys")
    @classmethod
    def _long_enough(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(key.get_secret_value()) < _MIN_KEY_CHARACTERS for key in keys):
            raise ValueError(f"a key has at least {_MIN_KEY_CHARACTERS} characters")
        return keys

    @field_validator("source_buckets")
    @classmethod
    def _pairs(cls, rows: tuple[str, ...]) -> tuple[str, ...]:
        if any(not all(row.partition("=")[::2]) for row in rows):
            raise ValueError("a bucket is listed as TENANT=BUCKET")
        return rows

    @property
    def buckets_by_tenant(self) -> dict[str, list[str]]:
        """Which buckets a tenant may name objects of."""
        found: dict[str, list[str]] = {}
        for tenant_id, _, bucket in (row.partition("=") for row in self.source_buckets):
            found.setdefault(tenant_id, []).append(bucket)
        return found

    @property
    def report_base_url(self) -> str:
        """Where a GPU job posts its reports, followed by the job's id.

        Raises:
            PipelineError: ``internal`` where no setting tells.
        """
        if not (self.report_url or self.public_url):
            raise PipelineError("internal", "EARWITNESS_REPORT_URL is not set, and is needed here.")
        return self.report_url.rstrip("/") or f"{self.public_url.rstrip('/')}/functions/on_report"

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
        raise PipelineError("request.invalid", f"{name}: {first['msg'].removeprefix('Value error, ')}.") from error
