"""The examples, run as they are told to be run: a walk with curl, a receiver of webhooks, a subscriber of events."""

import dataclasses
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from standardwebhooks import Webhook

from infra import wiring
from infra.gcp.event_bus import connect
from infra.local.cloud import LocalCloud
from shared.events import Event
from shared.ports import EventBus
from shared.webhooks import make_secret
from tests.clouds import Phone, behave, standin_cloud, wait_for
from tests.emulators import Emulator, free_port
from tests.media import encode, tone

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "infra" / "examples"
README = (EXAMPLES / "README.md").read_text()
WALK = re.findall(r"```sh\n(.*?)```", README.partition("## With curl")[2], re.DOTALL)
WAV = encode("wav", tone(1.0))


@dataclass
class Example:
    """A process that runs an example, and what it has printed so far."""

    process: subprocess.Popen[str]
    log: Path

    @property
    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def wait_for_line(self, part: str) -> str:
        """The first line with a part in it, as soon as there is one."""
        found: str = wait_for(lambda: next((line for line in self.lines if part in line), None) or self._gone())
        return found

    def _gone(self) -> None:
        assert self.process.poll() in (None, 0), self.log.read_text()


@contextmanager
def running(command: Sequence[str | Path], folder: Path, **environment: str) -> Iterator[Example]:
    """A process and all that it starts, until the end of the block."""
    log = folder / f"{uuid.uuid4().hex}.log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            stdout=sink,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, **environment},
        )
    try:
        yield Example(process, log)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it has left in the background


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    with standin_cloud(tmp_path / "state", webhook_first_retry_s=0.05) as cloud:
        yield cloud


# --- the walk with curl


def test_the_walk_with_curl(cloud: LocalCloud, tmp_path: Path) -> None:
    texts = [" I'm", " originally", " from", " Chicago", " also."]
    words = [
        {"text": text, "start_s": i * 0.5, "end_s": i * 0.5 + 0.4, "probability": 0.9} for i, text in enumerate(texts)
    ]
    heard = {"language": "en", "duration_s": 10.0, "segments": [{"start_s": 0.0, "end_s": 2.4, "words": words}]}
    behave(tmp_path / "state", transcribe={"writes": json.dumps(heard)}, diarize={"words": 10})
    (tmp_path / "talk.wav").write_bytes(encode("wav", tone(10.0)))
    (tmp_path / "infra").symlink_to(ROOT / "infra")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    script = "set -o pipefail\n" + "echo ----\n".join(WALK)
    port = str(free_port())
    script = script.replace("http://127.0.0.1:8080", cloud.url).replace("9000", port)
    # Some time after its end: the receiver goes on in the background.
    key = f"authorization: Bearer {cloud.owner_token}"
    with running(["bash", "-euc", script], tmp_path, KEY=key, PYTHONPATH=str(ROOT)) as walk:
        assert walk.process.wait(60) == 0, walk.log.read_text()
        ping = walk.wait_for_line("webhook.ping  msg_")
        said = walk.log.read_text().split("----\n")
        assert ping in said[-1]
    assert len(said) == len(WALK)
    _, created, opened, uploaded, followed, read, _ = said
    first, second = created.splitlines()
    assert first.split()[1] == second.split()[1], "the second request made another job"
    assert opened == ""
    assert uploaded.splitlines() == ["part: 308", "range: bytes=0-262143", "rest: 200"]
    assert re.findall(r'"state":"(\w+)","revision"', followed)[-1] == "completed"
    assert "event: end" in followed
    found, named, *captions = read.replace("}WEBVTT", "}\nWEBVTT").replace("}{", "}\n{").splitlines()
    assert json.loads(found)["total"] == 1 and json.loads(found)["data"][0]["start_s"] == 1.5
    assert json.loads(named)["version"] == 2
    assert captions[0] == "WEBVTT" and "Ada" in "".join(captions) and "Chicago" in "".join(captions)
    (listed,) = Phone(cloud.url, cloud.owner_token).client.get("/v1/jobs").json()["data"]
    assert listed["job_id"] == first.split()[1] and listed["size_bytes"] == (tmp_path / "talk.wav").stat().st_size


def test_every_other_block_is_what_the_page_is_tried_with() -> None:
    (block,) = re.findall(r"```sh\n(.*?)```", README.partition("## With curl")[0], re.DOTALL)
    up, serve = block.splitlines()
    assert up.startswith("EARWITNESS_CORS_ORIGINS=http://127.0.0.1:8000 .venv/bin/earwitness up --port 8080")
    assert serve.endswith("-m http.server 8000 --bind 127.0.0.1 --directory infra/examples/page")
    assert {path.name for path in (EXAMPLES / "page").iterdir()} == {"index.html", "page.css", "page.js"}
    (cors,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    assert json.loads(cors)[0]["method"] == ["POST", "PUT"]


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (EXAMPLES / target).exists(), target


# --- the receiver of webhooks


@contextmanager
def receiver(folder: Path, *secrets: str, database: str = "handled.sqlite") -> Iterator[tuple[Example, str]]:
    command = [sys.executable, EXAMPLES / "receiver.py", "0", database]
    with running(command, folder, EARWITNESS_WEBHOOK_SECRETS=",".join(secrets)) as example:
        yield example, example.wait_for_line("Listening on ").split()[-1]


def test_the_receiver_is_told_by_a_real_cloud_and_does_everything_once(cloud: LocalCloud, tmp_path: Path) -> None:
    owner = Phone(cloud.url, cloud.owner_token)
    port = free_port()
    body = {"url": f"http://127.0.0.1:{port}/", "events": ["job.*"]}
    made = owner.client.post("/v1/webhooks", json=body).json()
    other = owner.client.post("/v1/webhooks", json=body).json()
    command = [sys.executable, EXAMPLES / "receiver.py", str(port)]
    with running(command, tmp_path, EARWITNESS_WEBHOOK_SECRETS=made["secret"]) as example:
        example.wait_for_line("Listening on ")
        job_id = owner.send(WAV, filename="talk.wav")
        line = example.wait_for_line(f"job.completed {job_id}")
        webhook_id = line.split()[2]
        assert webhook_id.startswith("msg_")
        path = f"/v1/webhooks/deliveries/{webhook_id}"
        delivered = {"state": "delivered"}
        wait_for(lambda: owner.client.get(path).json()["state"] == "delivered")
        assert owner.client.post(f"{path}/replay").status_code == 202
        again = wait_for(lambda: (now := owner.client.get(path).json()) and len(now["attempts"]) == 2 and now)
        assert again["state"] == "delivered" and {attempt["status"] for attempt in again["attempts"]} == {204}
        assert [line for line in example.lines if "job.completed" in line] == [line]
        # The other endpoint's secret is not the receiver's.
        failed = f"/v1/webhooks/{other['webhook']['webhook_id']}/deliveries"
        first = wait_for(lambda: [one for one in owner.client.get(failed).json()["data"] if one["attempts"]])[0]
        assert first["state"] != delivered["state"] and first["attempts"][0]["status"] == 401


def test_the_receiver_refuses_what_is_not_signed_now_by_a_secret_of_its_own(tmp_path: Path) -> None:
    mine, old, foreign = (make_secret(bytes([number]) * 32) for number in (1, 2, 3))
    text = json.dumps({"type": "job.completed", "timestamp": "2026-01-01T00:00:00Z", "data": {"job_id": "j"}})

    def signed(secret: str, at: datetime, webhook_id: str = "msg_1") -> dict[str, str]:
        return {
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(secret).sign(webhook_id, at, text),
        }

    now = datetime.now(UTC)
    with receiver(tmp_path, mine, old) as (example, url), httpx.Client(base_url=url, trust_env=False) as client:

        def told(headers: dict[str, str], content: str | bytes = text) -> int:
            return client.post("/", headers=headers, content=content).status_code

        good = signed(mine, now)
        assert told(good) == 204
        assert told(signed(old, now, "msg_2")) == 204
        refused = {
            "foreign": told(signed(foreign, now)),
            "old": told(signed(mine, now - timedelta(minutes=6))),
            "early": told(signed(mine, now + timedelta(minutes=6))),
            "changed": told(good, text.replace("completed", "canceled ")),
            "other id": told(good | {"webhook-id": "msg_3"}),
            "no signature": told({}),
            "junk": told(good | {"webhook-signature": "junk"}),
            "more junk": told(good | {"webhook-signature": "v1,a,b"}),
            "no number": told(good | {"webhook-timestamp": "soon"}),
            "no text": told(good, b"\xff\xfe"),
        }
        assert set(refused.values()) == {401}, refused
        assert told(good, "") == 413 and told(good, b"x" * 1_000_001) == 413
        assert told(good) == 204
        assert example.lines[1:] == ["job.completed j msg_1", "job.completed j msg_2"]
    with receiver(tmp_path, mine) as (example, url):
        assert httpx.post(url, headers=good, content=text, trust_env=False).status_code == 204
        assert example.lines[1:] == [], "it forgot what it had done"


# --- the subscriber of events


@dataclass(frozen=True)
class Both:
    """Events go to the cloud's own functions and to a topic, as they do where the topic is Google's."""

    own: EventBus
    topic: EventBus
    published: list[Event]

    def publish(self, events: Sequence[Event]) -> None:
        self.published.extend(events)
        self.topic.publish(events)
        self.own.publish(events)


def make_subscriptions(pubsub: Emulator, project: str, *names: str) -> None:
    channel = grpc.insecure_channel(pubsub.host)
    publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
    subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
    topic = f"projects/{project}/topics/earwitness-events"
    publisher.create_topic(name=topic)
    # As the example says how to make it.
    source = (EXAMPLES / "subscriber.py").read_text()
    assert "--enable-message-ordering" in source
    (wanted,) = re.findall(r"--message-filter='(.*)'", source)
    for name in names:
        path = f"projects/{project}/subscriptions/{name}"
        request: dict[str, Any] = {"name": path, "topic": topic, "enable_message_ordering": True, "filter": wanted}
        subscriber.create_subscription(request=request)
    channel.close()


def test_the_subscriber_prints_what_completed_in_order_and_once(
    cloud: LocalCloud, pubsub: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub.host)
    project = f"example-{uuid.uuid4().hex[:12]}"
    # Two, because the emulator goes on for a minute to deliver to a subscriber that has left. So the second one gets
    # everything that the first one has noted.
    make_subscriptions(pubsub, project, "first", "second")
    topic = connect(project, "earwitness-events")
    both = Both(cloud.queue, topic, [])
    wiring.install(dataclasses.replace(cloud.services, events=both))
    phone = Phone(cloud.url, cloud.owner_token)
    command = [sys.executable, EXAMPLES / "subscriber.py", project]
    with running([*command, "first"], tmp_path) as first:
        jobs = [phone.send(WAV, filename=f"{number}.wav") for number in range(3)]
        for job_id in jobs:
            first.wait_for_line(f"{job_id} job ")
        topic.publish(both.published)  # as a publisher does that lost the answer
        jobs.append(phone.send(WAV))
        first.wait_for_line(f"{jobs[-1]} job ")
        first.process.terminate()
        assert first.process.wait(20) == 0
    with running([*command, "second"], tmp_path) as second:
        jobs.append(phone.send(WAV))
        second.wait_for_line(f"{jobs[-1]} job ")
    lines = [line.split() for line in first.lines + second.lines]
    for job_id in jobs:
        events = {event.id: event.model_dump(mode="json") for event in both.published if event.jobid == job_id}
        completed = [(event["time"], job_id) for event in events.values() if event["type"].endswith(".completed")]
        assert [(line[0], line[1]) for line in lines if line[1] == job_id] == completed
        assert len(completed) > 4
    with closing(sqlite3.connect(tmp_path / "completed.sqlite")) as kept:
        (count,) = kept.execute("SELECT count(*) FROM completed").fetchone()
    assert len(lines) == count
