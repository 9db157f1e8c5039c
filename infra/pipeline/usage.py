"""Counting what was used, and telling it by day."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from infra.pipeline.intake import first_id_at
from infra.pipeline.outbox import Stores
from shared.errors import PipelineError
from shared.events import Event, Metrics, StageCompleted
from shared.usage import UsageDay, UsageEntry, Used

# Two years and a month: every day of the year before last can be compared.
KEPT = timedelta(days=761)
_PAGE = 500


def note_usage(stores: Stores, event: Event) -> None:
    """Keep what an event says was used. Safe to repeat, in any order, and after the job is gone.

    The metrics come from the event, not from the job: that may be deleted by now, and its line holds none.

    Raises:
        PipelineError: A retryable one.
    """
    if event.type == "media.validated":
        _create(stores, event)
    # Stages that run in a function use nothing worth counting.
    if event.type != "stage.completed":
        return
    fact = event.fact
    if isinstance(fact, StageCompleted) and fact.metrics != Metrics():
        used = Used(metrics=fact.metrics, duration_s=_duration_s(stores, event, fact))
        name = f"{fact.stage}/{fact.attempt}"
        try:
            _add(stores, event.jobid, name, used)
        except PipelineError as error:
            if error.code != "document.not_found":
                raise
            _create(stores, event)
            _add(stores, event.jobid, name, used)


def read_usage(stores: Stores, tenant_id: str, first: date, last: date) -> Sequence[UsageDay]:
    """Days on which a tenant used something, oldest first, from the first to the last given."""
    days: dict[date, UsageDay] = {}
    begin = first_id_at(_midnight(first))
    after: str | None = first_id_at(_midnight(last + timedelta(days=1)))
    while after is not None:
        page = stores.documents.find(UsageEntry, tenant_id=tenant_id, limit=_PAGE, after=after)
        wanted = [entry for entry in page if entry.document_id >= begin]
        for entry in wanted:
            day = _day_of(entry)
            days[day] = days.get(day, UsageDay(day=day)).with_entry(entry)
        after = page[-1].document_id if len(wanted) == _PAGE else None
    return [days[day] for day in sorted(days)]


def _create(stores: Stores, event: Event) -> None:
    entry = UsageEntry(document_id=event.jobid, tenant_id=event.tenantid, at=event.time, expires_at=event.time + KEPT)
    try:
        stores.documents.create(entry)
    except PipelineError as error:
        if error.code != "document.exists":
            raise


def _add(stores: Stores, job_id: str, name: str, used: Used) -> None:
    stores.documents.update(UsageEntry, job_id, lambda entry: entry.with_attempt(name, used))


def _duration_s(stores: Stores, event: Event, fact: StageCompleted) -> float | None:
    stage = stores.jobs.get(event.jobid).stages[fact.stage]
    if stage.attempt != fact.attempt or stage.started_at is None or stage.finished_at is None:
        return None
    return (stage.finished_at - stage.started_at).total_seconds()


def _day_of(entry: UsageEntry) -> date:
    """When its job was created, as the id says."""
    return datetime.fromtimestamp(int(entry.document_id[4:16], 16) / 1000, UTC).date()


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
