"""A GPU job reports progress, its result, or its failure."""

from typing import Any

import functions_framework.aio
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse

from infra.bodies import read_body
from infra.observability.context import is_traceparent
from infra.observability.tracing import span
from infra.pipeline.reports import receive_report
from infra.wiring import services
from shared.errors import PipelineError
from shared.requests import REPORT


@functions_framework.aio.http
async def on_report(request: Request) -> JSONResponse:
    """Answer 200 while the attempt is wanted and 410 once it is not; other errors as ``{code, message}``."""
    job_id = request.path_params.get("path", "")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    try:
        if scheme.lower() != "bearer":
            raise PipelineError("request.unauthorized")
        report: Any = REPORT.validate_json(await read_body(request), extra="ignore")
        traceparent = request.headers.get("traceparent", "")
        with span(f"report {report.type}", traceparent if is_traceparent(traceparent) else "", job_id=job_id):
            wanted = await run_in_threadpool(receive_report, services(), job_id, report, token)
    except ValidationError:
        error = PipelineError("request.invalid", "This is not a report.")
        return JSONResponse(error.info.model_dump(), error.http_status)
    except PipelineError as error:
        return JSONResponse(error.info.model_dump(), error.http_status)
    return JSONResponse({"wanted": wanted}, 200 if wanted else 410)
