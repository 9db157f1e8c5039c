"""Log lines for people, or as JSON in the form that Cloud Logging takes apart."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from infra.observability import counted
from infra.observability.context import ids
from infra.settings import Settings

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# They say of each request what we say ourselves where it matters.
_QUIET = ("httpx", "filelock")


class JsonLines(logging.Formatter):
    """One line of JSON each, with the ids of what it is about, and with the fields of what is counted.

    Args:
        project: Google Cloud project, by which its traces are found; may be empty.
    """

    def __init__(self, project: str = "") -> None:
        super().__init__()
        self._project = project

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        about = dict(ids())
        line: dict[str, Any] = {
            "severity": record.levelname,
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            # With the traceback: Error Reporting groups by it.
            "message": super().format(record),
            "logger": record.name,
        }
        if traceparent := about.pop("traceparent", ""):
            _, trace_id, span_id, flags = traceparent.split("-")
            line["trace_id"] = trace_id
            line["logging.googleapis.com/trace"] = (
                f"projects/{self._project}/traces/{trace_id}" if self._project else trace_id
            )
            line["logging.googleapis.com/spanId"] = span_id
            line["logging.googleapis.com/trace_sampled"] = bool(int(flags, 16) & 1)
        return json.dumps(line | about | getattr(record, "fields", {}), ensure_ascii=False)


def install_logs(settings: Settings) -> None:
    """Write this process' log lines to stderr, as the settings say."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(settings.project) if settings.log_format == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    counted.log.setLevel(logging.INFO if settings.log_format == "json" else logging.WARNING)
