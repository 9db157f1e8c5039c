"""Which operations each function's code performs: every function works with services that write down what it asks for.

The functions are the real ones, on the local cloud. Driven over HTTP are the ways that a job can go (``tests.ways``),
every operation of the API, recordings that are fetched, webhooks, results that are taken over, and what is mended.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from infra import wiring
from infra.local.cloud import LocalCloud
from infra.local.runner import LocalRunner
from infra.probe import ContentProber
from infra.settings import Settings
from infra.wiring import GivenServices
from shared.media import ObjectRef
from tests import small_cloud
from tests.clouds import STANDIN, Phone, behave, wait_for
from tests.end_to_end import test_every_operation as every_operation
from tests.faults import Faults
from tests.media import encode, tone
from tests.origins import WAV, serving
from tests.receivers import Receiver, receiving
from tests.terraform.access_uses import PORTS, Operation
from tests.ways import WAYS, Way

# The API alone has pools of threads that know nothing of who began it.
_running: ContextVar[str] = ContextVar("function", default="api")
_LISTED: dict[str, Any] = {"source_buckets": ("default=archive",), "metrics_token": "metrics", "reuse_days": 0.0}
_QUICK: dict[str, Any] = {
    "source_buckets": ("default=archive",),
    "reuse_days": 30.0,
    "upload_late_s": 0.5,
    "webhook_first_retry_s": 0.05,
    "webhook_max_retry_s": 0.2,
    "webhook_pause_after_s": 0.1,
}


class Seen:
    """What was seen so far."""

    def __init__(self) -> None:
        self.operations: set[Operation] = set()

    def wrap(self, given: GivenServices) -> GivenServices:
        """These services, each of whose methods is written down under the function that calls it."""
        settings = given.settings
        named = {settings.uploads_bucket: "uploads", settings.results_bucket: "results"}

        def note(port: str, method: str, values: Sequence[Any]) -> None:
            ref = values[0] if values and isinstance(values[0], ObjectRef) else None
            bucket = named.get(ref.bucket, "sources") if ref else ""
            self.operations.add(Operation(_running.get(), port, method, bucket))

        wrapped: dict[str, Any] = {port: _Noted(port, getattr(given, port), note) for port in PORTS}
        if isinstance(given.prober, ContentProber):  # as on Google Cloud: a child reads from a signed URL
            objects = wrapped["objects"]
            prober = ContentProber(lambda ref: str(objects.sign_download(ref, expires_s=60.0)))
            wrapped["prober"] = _Noted("prober", prober, note)
        return dataclasses.replace(given, **wrapped)


class _Noted:
    """An adapter whose calls are told to ``note`` first."""

    def __init__(self, port: str, adapter: object, note: Callable[[str, str, Sequence[Any]], None]) -> None:
        self._port, self._adapter, self._note = port, adapter, note

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._adapter, name)
        if not callable(found):
            return found

        def noted(*values: Any, **named: Any) -> Any:
            self._note(self._port, name, values)
            return found(*values, **named)

        return noted


class _Named:
    """An app whose requests are a function's."""

    def __init__(self, app: ASGIApp, function: str) -> None:
        self._app, self._function = app, function

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = _running.set(self._function)
        try:
            await self._app(scope, receive, send)
        finally:
            _running.reset(token)


def drive(folder: Path) -> frozenset[Operation]:
    """What the functions ask for on all ways there are; the clouds' state is in a folder."""
    seen = Seen()
    _drive_ways(seen, folder / "ways")
    with serving() as origin:
        with _watched(seen, folder / "listed", _LISTED) as cloud:
            phone = Phone(cloud.url, cloud.owner_token)
            every_operation.test_every_operation_is_done_by_this_walk(cloud, folder / "listed", lambda _: None)
            _sources(cloud, phone, origin.url)
            _operators(phone)
        with receiving() as receiver, _watched(seen, folder / "quick", _QUICK) as cloud:
            phone = Phone(cloud.url, cloud.owner_token)
            _again(cloud, phone)
            _late(cloud, phone)
            _webhooks(phone, receiver)
            _silent(phone, folder / "quick")
    return frozenset(seen.operations)


def _drive_ways(seen: Seen, folder: Path) -> None:
    """Every way that a job can go, of one phone, on the small cloud."""
    with _named_routes(small_cloud._APP):
        for number, way in enumerate(WAYS.values()):
            _live(seen, folder / str(number), way)


def _live(seen: Seen, folder: Path, way: Way) -> None:
    folder.mkdir(parents=True)
    cloud = small_cloud.SmallCloud(folder, way, Faults(lambda _: None))
    try:
        _install(seen)
        cloud.run()
    finally:
        cloud.close()


@contextmanager
def _watched(seen: Seen, folder: Path, settings: dict[str, Any]) -> Iterator[LocalCloud]:
    """A local cloud whose workers are stand-ins."""
    folder.mkdir(parents=True)
    cloud = LocalCloud(
        Settings(data_dir=folder / "cloud", models_dir=folder, **settings),
        runner=LocalRunner(folder, folder / "logs", worker=STANDIN),
    )
    app = cloud._server.config.app
    assert isinstance(app, Starlette)
    with _named_routes(app), cloud:
        _install(seen)
        yield cloud


def _install(seen: Seen) -> None:
    installed = wiring.services()
    assert isinstance(installed, GivenServices)
    wiring.install(seen.wrap(installed))


@contextmanager
def _named_routes(app: Starlette) -> Iterator[None]:
    """While each function that is mounted there knows its name."""
    mounts = [route for route in app.routes if isinstance(route, Mount) and route.path != "/storage"]
    apps = [mount.app for mount in mounts]
    for mount in mounts:
        mount.app = _Named(mount.app, mount.path.removeprefix("/functions/") or "api")
    yield
    for mount, app_before in zip(mounts, apps, strict=True):
        mount.app = app_before


def _sources(cloud: LocalCloud, phone: Phone, origin: str) -> None:
    """Recordings that are somewhere already: listed, in the inbox, on the web; and one that is not."""
    places = [("archive", "talk.wav"), ("earwitness-uploads", "inbox/default/talk.wav")]
    for bucket, name in places:
        cloud.objects.write(ObjectRef(bucket=bucket, name=name), WAV, content_type="audio/wav")
    wishes = [{"source_uri": f"gs://{bucket}/{name}"} for bucket, name in places]
    wishes += [{"source_url": f"{origin}/{path}"} for path in ("ok/a.wav", "status/404")]
    jobs = [phone.create(**wish)["job"]["job_id"] for wish in wishes]
    assert [phone.wait(job_id)["state"] for job_id in jobs] == ["completed", "completed", "completed", "failed"]
    for job_id in jobs:
        phone.client.delete(f"/v1/jobs/{job_id}").raise_for_status()


def _operators(phone: Phone) -> None:
    """What no tenant asks for."""
    phone.client.get("/metrics", headers={"authorization": "Bearer metrics"}).raise_for_status()
    phone.client.get("/v1/health/ready").raise_for_status()


def _again(cloud: LocalCloud, phone: Phone) -> None:
    """The same recording again, uploaded and listed: its results are taken over."""
    phone.wait(phone.send(WAV, content_type="audio/wav"))
    assert phone.wait(phone.send(WAV, content_type="audio/wav"))["reused_from"]
    cloud.objects.write(ObjectRef(bucket="archive", name="a.wav"), WAV, content_type="audio/wav")
    assert phone.wait(phone.create(source_uri="gs://archive/a.wav")["job"]["job_id"])["reused_from"]


def _late(cloud: LocalCloud, phone: Phone) -> None:
    """An upload that comes after its job was deleted, and one whose event gets lost."""
    created = phone.create()
    phone.client.delete(f"/v1/jobs/{created['job']['job_id']}").raise_for_status()
    assert phone.put(created["upload"], WAV).status_code == 200
    late = f"default/{created['job']['job_id']}/media"
    wait_for(lambda: late not in cloud.objects.names("earwitness-uploads"))
    told = dict(cloud.objects._notified)
    cloud.objects._notified.clear()
    job_id = phone.send(_recording(1))
    cloud.objects._notified.update(told)
    assert phone.wait(job_id)["state"] == "completed"


def _webhooks(phone: Phone, receiver: Receiver) -> None:
    """Delivered in full and to a callback, refused until an endpoint is paused, and deleted with the job."""
    receiver.answer = lambda got: ({"/gone": 410, "/bad": 500}.get(got.path, 204), {})
    for body in ({"path": "full", "payload": "full"}, {"path": "gone"}, {"path": "bad"}):
        body["url"] = f"{receiver.url}/{body.pop('path')}"
        phone.client.post("/v1/webhooks", json=body).raise_for_status()
    job_id = phone.send(_recording(2), callback={"url": f"{receiver.url}/callback"})
    phone.wait(job_id)
    receiver.wait(1, "/callback")
    receiver.wait(8, "/bad")
    phone.client.delete(f"/v1/jobs/{job_id}").raise_for_status()


def _silent(phone: Phone, folder: Path) -> None:
    """A worker that reports nothing, and one that dies."""
    for number, behaviour in enumerate(({"silent": True}, {"crash": 1})):
        behave(folder, transcribe=behaviour)
        assert phone.wait(phone.send(_recording(3 + number)))["state"] == "completed"


def _recording(number: int) -> bytes:
    """One that no other job has had."""
    return encode("wav", tone(1.0 + number / 10))
