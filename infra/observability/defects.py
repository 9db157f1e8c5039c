"""Defects to Sentry: imported where a DSN is set, and nowhere else."""

import sentry_sdk
from sentry_sdk.integrations.dedupe import DedupeIntegration
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.types import Event, Hint

from infra.observability.context import ids

# What of an event could hold someone's secret: requests with their headers, variables, arguments of the process.
_DROPPED = ("request", "user", "extra", "breadcrumbs", "modules", "server_name")
_OURS = ("request_id", "job_id", "tenant_id")


def report_defects(dsn: str) -> None:
    """Send what is logged as an error, with its traceback and the ids of what it was about, and nothing else."""
    sentry_sdk.init(
        dsn=dsn,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[LoggingIntegration(level=None), DedupeIntegration()],
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        before_send=_scrubbed,
    )


def _scrubbed(event: Event, _hint: Hint) -> Event:
    kept = {name: value for name, value in event.items() if name not in _DROPPED}
    about = ids()
    kept["tags"] = {name: about[name] for name in _OURS if name in about}
    return kept  # type: ignore[return-value]
