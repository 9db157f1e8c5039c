"""What is outside of a small cloud: the phone, the runner of GPU stages, and the line between."""

import asyncio
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from gpu_jobs.reporting import Reporter, Unwanted
from gpu_jobs.transfer import upload
from shared.errors import PipelineError
from shared.events import Metrics, StageCompleted, StageFailed, StageProgressed
from shared.jobs import JobState
from shared.ports import Call, CallState
from shared.requests import REPORT, StageRequest
from shared.transcript import Diarization, Recognition, Segment, Turn, Word
from tests.faults import Faults, WorkerDied
from tests.ways import Way

URL = "http://127.0.0.1"
MEDIA = b"what a phone has recorded"
_WORDS = tuple(Word(text=f" word{i}", start_s=i * 0.5, end_s=i * 0.5 + 0.4, probability=0.9) for i in range(20))
_PRODUCTS = {
    "words.json": Recognition(
        language="en", duration_s=10.0, segments=(Segment(start_s=0.0, end_s=9.9, words=_WORDS),), model="stand-in"
    ),
    "turns.json": Diarization(
        duration_s=10.0,
        turns=tuple(Turn(speaker=f"SPEAKER_0{i % 2}", start_s=i * 5.0, end_s=i * 5.0 + 5.0) for i in range(2)),
        model="stand-in",
    ),
}


class StandinRunner:
    """Runs calls one at a time when told to, each known by a file. A process remembers what it started, as on Modal.

    Args:
        folder: Where calls are known.
        at_half: What else happens while a worker is at it.
    """

    def __init__(self, folder: Path, at_half: Callable[[], None]) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._at_half = at_half
        self._started: dict[str, str] = {}

    def start(self, request: StageRequest) -> str:
        attempt = f"{request.job_id}-{request.stage}-{request.attempt}"
        if attempt not in self._started:
            self._started[attempt] = f"{attempt}-{secrets.token_hex(4)}"
            replace(self._folder / f"{self._started[attempt]}.waiting", request.to_json())
        return self._started[attempt]

    def poll(self, call_id: str) -> Call:
        if (self._folder / f"{call_id}.waiting").exists():
            return Call(CallState.RUNNING)
        path = self._folder / f"{call_id}.over"
        if not path.exists():
            return Call(CallState.LOST)
        over = json.loads(path.read_text())
        report = StageCompleted.from_data(over["report"]) if "report" in over else None
        return Call(CallState(over["state"]), PipelineError(over["code"]).info if "code" in over else None, report)

    def cancel(self, call_id: str) -> None:
        if (self._folder / f"{call_id}.waiting").exists():
            self._end(call_id, {"state": "failed", "code": "stage.lost"})

    def run_one(self, client: httpx.Client, failing: str = "") -> bool:
        """Run the call that waits, or say that none does; one of the stage ``failing`` fails for good."""
        waiting = sorted(self._folder.glob("*.waiting"))
        if not waiting:
            return False
        request = StageRequest.from_json(waiting[0].read_text())
        self._end(waiting[0].stem, self._attempt(client, request, fails=request.stage == failing))
        return True

    def _attempt(self, client: httpx.Client, request: StageRequest, *, fails: bool) -> dict[str, Any]:
        """What ``gpu_jobs.attempt.run_attempt`` does, without a model; and what the runner knows of it then."""
        report: StageCompleted | StageFailed
        metrics = Metrics(audio_s=10.0, model="stand-in")
        report = StageCompleted(stage=request.stage, attempt=request.attempt, metrics=metrics)
        outcome = {"state": "succeeded", "report": report.model_dump(mode="json")}
        try:
            answer = client.get(request.inputs["media"])
            if answer.status_code == 404:  # the job was deleted, and nobody knew of this call
                raise PipelineError("object.not_found")
            assert answer.content == MEDIA
            _progress(client, request)
            self._at_half()
            if fails:
                raise PipelineError("media.corrupt")
            for output in request.outputs:
                upload(client, output.upload, _PRODUCTS[output.filename].to_json().encode())
        except WorkerDied:
            return {"state": "failed", "code": "stage.crashed"}
        except PipelineError as error:
            report = StageFailed(stage=request.stage, attempt=request.attempt, error=error.info)
            outcome = {"state": "failed", "code": error.code}
        try:
            with Reporter(client, request) as reporter:
                reporter.finish(report)
        except WorkerDied:
            return {"state": "failed", "code": "stage.crashed"}
        except Unwanted:
            return {"state": "failed", "code": "stage.lost"}
        except PipelineError:  # it could not be reported, and the runner will be asked
            return outcome
        return outcome

    def _end(self, call_id: str, outcome: dict[str, Any]) -> None:
        replace(self._folder / f"{call_id}.over", json.dumps(outcome))
        (self._folder / f"{call_id}.waiting").unlink(missing_ok=True)


def _progress(client: httpx.Client, request: StageRequest) -> None:
    """One report of progress, whose loss is no matter. In this thread, so that the points keep their order."""
    report = StageProgressed(stage=request.stage, attempt=request.attempt, progress=0.5, partial_text="half of it")
    headers = {"authorization": f"Bearer {request.report.token}"}
    try:
        client.post(request.report.url, content=REPORT.dump_json(report), headers=headers)
    except httpx.TransportError:
        return


@dataclass
class Phone:
    """An app, which outlives the cloud: it asks again until it has an answer, and remembers only what was answered.

    And the one who holds it: what they have asked for they want until it is answered.
    """

    path: Path
    client: httpx.Client
    way: Way
    known: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.known = {"wished": 0, "granted": 0}
        if self.path.exists():
            self.known |= json.loads(self.path.read_text())

    @property
    def is_content(self) -> bool:
        """Whether all that was to be asked for was granted."""
        return not self.has_something_to_do() and self.known["granted"] == len(self.way.wishes)

    def has_something_to_do(self) -> bool:
        has_sent = "request" in self.known and ("uploaded" in self.known or not self.way.uploads)
        return not has_sent or self.known["wished"] > self.known["granted"]

    def act(self) -> None:
        try:
            if "request" not in self.known:
                self._create()
            elif self.way.resumable and "session" not in self.known:
                self._open_session()
            elif self.way.uploads and "uploaded" not in self.known:
                self._upload()
            else:
                self._ask()
        except httpx.TransportError:
            return

    def wish(self, *, at_work: bool = False) -> bool:
        """Wish for the next thing if its moment has come; whether it has. ``at_work``: a worker is at the job."""
        wishes = self.way.wishes[self.known["wished"] :]
        if not wishes or (wishes[0].at is JobState.RUNNING) is not at_work:
            return False
        state = self.client.get(f"/v1/jobs/{self.known['job_id']}").json()["state"]
        if state == wishes[0].at:
            self._remember(wished=self.known["wished"] + 1)
        return bool(state == wishes[0].at)

    def has_wished(self, verb: str) -> bool:
        return verb in [wish.verb for wish in self.way.wishes[: self.known["wished"]]]

    def _create(self) -> None:
        body = {
            "content_type": "audio/wav",
            "upload": "resumable" if self.way.resumable else "put",
            "filename": "a.wav",
            "deadline_s": self.way.deadline_s,
        }
        answer = self.client.post("/v1/jobs", json=body)
        if answer.is_success:
            created = answer.json()
            self._remember(job_id=created["job"]["job_id"], request=created["upload"])
        else:
            assert answer.status_code == 503, answer.text

    def _open_session(self) -> None:
        answer = self._send(self.known["request"])
        if answer.is_success:
            self._remember(session={"method": "PUT", "url": answer.headers["location"], "headers": {}})
        else:
            assert answer.status_code == 503, answer.text

    def _upload(self) -> None:
        answer = self._send(self.known["session" if self.way.resumable else "request"], MEDIA)
        if answer.status_code in (200, 412):  # the latter: it had arrived, and its answer had not
            self._remember(uploaded=True)
        else:
            assert answer.status_code == 503, answer.text

    def _ask(self) -> None:
        verb, url = self.way.wishes[self.known["granted"]].verb, f"/v1/jobs/{self.known['job_id']}"
        answer = self.client.delete(url) if verb == "delete" else self.client.post(f"{url}/{verb}")
        # Not found: it was deleted, and the answer had not arrived.
        if answer.is_success or (verb == "delete" and answer.status_code == 404):
            self._remember(granted=self.known["granted"] + 1)
        else:
            assert answer.status_code == 503, answer.text

    def _send(self, request: dict[str, Any], content: bytes = b"") -> httpx.Response:
        return self.client.request(request["method"], request["url"], headers=request["headers"], content=content)

    def _remember(self, **known: Any) -> None:
        self.known |= known
        replace(self.path, json.dumps(self.known))


class Loopback:
    """HTTP to an ASGI app without a socket. A request that changes something is an effect, named after who sends it."""

    def __init__(self, app: Any, faults: Faults) -> None:
        self._app = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._loop = asyncio.Runner()
        self._faults = faults

    def close(self) -> None:
        self._loop.close()

    def client(self, who: str, **headers: str) -> httpx.Client:
        return httpx.Client(transport=_Sender(self, who), base_url=URL, headers=headers, trust_env=False)

    def send(self, request: httpx.Request, who: str) -> httpx.Response:
        if request.method == "GET":
            return self._answer(request)
        with self._faults.effect(f"{who}.{request.method.lower()}", lambda: httpx.ReadTimeout("no answer came")):
            return self._answer(request)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        return self._loop.run(self._ask(request))

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        answer = await self._app.handle_async_request(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())


class _Sender(httpx.BaseTransport):
    def __init__(self, server: Loopback, who: str) -> None:
        self._server = server
        self._who = who

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._server.send(request, self._who)


def replace(path: Path, text: str) -> None:
    """Write a file as a whole or not at all."""
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(text)
    draft.replace(path)
