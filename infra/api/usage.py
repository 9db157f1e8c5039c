"""What the caller's tenant has used, and its audit log."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from infra.api.access import allowed
from infra.api.cursors import behind, cut
from infra.api.problems import documented
from infra.pipeline.audit import read_audit
from infra.pipeline.usage import read_usage
from infra.wiring import services
from shared.errors import PipelineError
from shared.keys import Principal
from shared.usage import UsageDay

router = APIRouter(prefix="/v1", tags=["usage"], responses=documented(400, 401, 403, 429, 503))

MAY_READ = allowed("usage:read")
_DAYS = 30
_MAX_DAYS = 366


class Usage(BaseModel):
    """What was used, by day."""

    data: list[UsageDay] = Field(description="Days without use are left out.")
    total: UsageDay = Field(description="All of them together; its day is the last one asked for.")


class AuditLine(BaseModel):
    """Who did what to what."""

    id: str
    at: datetime
    actor: str = Field(description="Id of the API key that was used; `owner` for the command line and the platform.")
    action: str
    subject: str = Field(description="Id of what it was done to.")


class AuditPage(BaseModel):
    """Lines, newest first."""

    data: list[AuditLine]
    next_cursor: str | None = Field(description="For the next page; none is left where it is null.")


@router.get("/usage")
def usage(
    caller: Annotated[Principal, MAY_READ],
    first: Annotated[
        date | None, Query(alias="from", description="First day (UTC); 30 days before the last if left out.")
    ] = None,
    last: Annotated[date | None, Query(alias="to", description="Last day (UTC); today if left out.")] = None,
) -> Usage:
    """What was used, by the day on which the job was created: at most 366 days at once.

    A stage's attempt counts once it has completed, also if its job fails or is deleted later. A recording's length
    counts once, however often it was worked on.
    """
    last = last or datetime.now(UTC).date()
    first = first or max(last, date.min + timedelta(days=_DAYS)) - timedelta(days=_DAYS - 1)
    if not 0 <= (last - first).days < _MAX_DAYS or not 1970 <= first.year <= last.year <= 9998:
        raise PipelineError(
            "request.invalid", f"from, to: one to {_MAX_DAYS} days, the first not behind the last.", field="from"
        )
    days = read_usage(services(), caller.tenant_id, first, last)
    return Usage(data=list(days), total=_total(last, days))


@router.get("/audit")
def audit(
    caller: Annotated[Principal, MAY_READ],
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> AuditPage:
    """Who did what in your tenant, newest first; kept for a year."""
    asked = ("audit", caller.tenant_id)
    found = read_audit(services(), caller.tenant_id, limit=limit + 1, after=behind(cursor, *asked))
    lines, next_cursor = cut(found, limit, lambda line: line.document_id, *asked)
    return AuditPage(
        data=[
            AuditLine(id=line.document_id, at=line.at, actor=line.actor, action=line.action, subject=line.subject)
            for line in lines
        ],
        next_cursor=next_cursor,
    )


def _total(last: date, days: Sequence[UsageDay]) -> UsageDay:
    costs = [day.cost_usd for day in days if day.cost_usd is not None]
    return UsageDay(
        day=last,
        jobs=sum(day.jobs for day in days),
        audio_s=sum(day.audio_s for day in days),
        compute_s=sum(day.compute_s for day in days),
        cost_usd=sum(costs) if costs else None,
    )
