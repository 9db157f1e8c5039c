"""Following a job."""

from typing import Annotated

from fastapi import APIRouter

from infra.api.access import allowed
from infra.api.problems import documented
from infra.api.views import JobView, job_view
from infra.pipeline.control import find_job
from infra.wiring import services
from shared.keys import Principal

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"], responses=documented(400, 401, 403, 404, 429, 503))


@router.get("")
def status(job_id: str, caller: Annotated[Principal, allowed("jobs:read")]) -> JobView:
    """The status document of a job."""
    return job_view(find_job(services(), job_id, caller.tenant_id))
