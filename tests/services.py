"""Services to test the pipeline with: real stores, a clock that is told, a runner that keeps what it is given."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infra.callers import BearerToken
from infra.local.database import Database
from infra.local.document_store import LocalDocumentStore
from infra.local.event_queue import EventQueue
from infra.local.job_store import LocalJobStore
from infra.local.object_store import LocalObjectStore
from infra.local.signing import UrlSigner
from infra.report_tokens import ReportTokens
from infra.settings import Settings
from infra.wiring import GivenServices
from shared.errors import PipelineError
from shared.media import ObjectRef, Probe
from shared.ports import Call, CallState
from shared.requests import StageRequest

CALLER = "Bearer of the cloud itself"


@dataclass
class ToldClock:
    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def pass_by(self, **span: float) -> None:
        self.time += timedelta(**span)


@dataclass
class KeepingRunner:
    """Accepts calls and forgets none; reaches nobody while it is ``down``."""

    calls: dict[str, Call] = field(default_factory=dict)
    down: bool = False
    polls: int = 0

    def start(self, request: StageRequest) -> str:
        if self.down:
            raise PipelineError("service.unavailable", "No runner could be reached.")
        call_id = f"{request.job_id}/{request.stage}/{request.attempt}"
        self.calls.setdefault(call_id, Call(CallState.RUNNING))
        return call_id

    def poll(self, call_id: str) -> Call:
        self.polls += 1
        if self.down:
            raise PipelineError("service.unavailable", "No runner could be reached.")
        return self.calls.get(call_id, Call(CallState.LOST))

    def cancel(self, call_id: str) -> None:
        self.calls[call_id] = Call(CallState.FAILED)


class TrustingProber:
    broken = False

    def probe(self, ref: ObjectRef) -> Probe:
        if self.broken:
            raise PipelineError("service.unavailable")
        return Probe(container="wav", audio_codec="pcm_s16le", duration_s=1.0, sample_rate_hz=16_000, channels=1)


@contextmanager
def told_services(folder: Path) -> Iterator[GivenServices]:
    """Services whose state is in a folder."""
    database, clock = Database(folder / "state.sqlite"), ToldClock()
    queue = EventQueue(database, {"orchestrate": ()})
    objects = LocalObjectStore(database, folder / "objects", "http://x", UrlSigner(b"k"), clock, queue, {})
    yield GivenServices(
        settings=Settings(data_dir=folder, public_url="http://127.0.0.1:8080", upload_expires_s=3600),
        clock=clock,
        jobs=LocalJobStore(database),
        documents=LocalDocumentStore(database),
        events=queue,
        deliveries=queue,
        objects=objects,
        runner=KeepingRunner(),
        prober=TrustingProber(),
        callers=BearerToken(CALLER.removeprefix("Bearer ")),
        report_tokens=ReportTokens(b"k"),
    )
    database.close()
