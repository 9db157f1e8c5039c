"""The scheduler's call: find what got stuck."""

import logging
from dataclasses import asdict

import functions_framework.aio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse

from infra.pipeline.sweep import Swept
from infra.pipeline.sweep import sweep as sweep_jobs
from infra.wiring import services
from shared.errors import PipelineError

log = logging.getLogger(__name__)


@functions_framework.aio.http
async def sweep(request: Request) -> JSONResponse:
    """Sweep once and say what was done."""

    def run() -> Swept:
        found = services()
        found.callers.check(request.headers.get("authorization"))
        return sweep_jobs(found)

    try:
        return JSONResponse(asdict(await run_in_threadpool(run)))
    except PipelineError as error:
        log.warning("the sweep broke off: %s", error)
        return JSONResponse(error.info.model_dump(), error.http_status)
