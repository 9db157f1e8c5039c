"""The scheduler's call: find what got stuck."""

from dataclasses import asdict
from typing import Any

import functions_framework.aio
from starlette.requests import Request

from infra.pipeline.sweep import sweep as sweep_jobs
from infra.wiring import services


@functions_framework.aio.http
def sweep(_request: Request) -> dict[str, Any]:
    """Sweep once and say what was done."""
    return asdict(sweep_jobs(services()))
