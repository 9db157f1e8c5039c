"""What an operator sees of a process: log lines, traces, defects, and counts of requests."""

import logging

from infra.observability.logs import install_logs
from infra.observability.tracing import configure_tracing
from infra.settings import Settings

log = logging.getLogger(__name__)


def observe(settings: Settings) -> None:
    """Set a function's process up, as its settings and the standard ``OTEL_*`` variables say."""
    if settings.log_format == "json":
        install_logs(settings)
    configure_tracing()
    if settings.sentry_dsn is not None:
        try:
            from infra.observability.defects import report_defects
        except ImportError:  # no reason not to serve anyone
            log.warning("defects are not reported: sentry-sdk is not installed")
            return
        report_defects(settings.sentry_dsn.get_secret_value())
