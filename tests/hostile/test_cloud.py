"""Hostile files and names through a whole local cloud: each job ends with a code, and nothing else is told or done."""

import json
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from random import Random

import pytest

from infra.exports import FORMATS
from infra.local.cloud import LocalCloud
from tests.clouds import Phone, standin_cloud, wait_for
from tests.hostile.conftest import SEED
from tests.hostile.hostile import ACCEPTED, Hostile
from tests.hostile.names import NO_TEXTS, TEXTS
from tests.hostile.passing import SENTENCE
from tests.hostile.watching import Baited, listing
from tests.media import encode, tone

OF_EACH_KIND = 6
JOB_BOUND_S = 30.0
TYPES = ("", "application/octet-stream", "audio/wav", "audio/mpeg", "video/mp4", "text/html", "image/png", "a/b;c=d")
WAV = encode("wav", tone(0.5))
CLIMBING = (
    "/storage/earwitness-uploads/../../key",
    "/storage/earwitness-uploads/%2e%2e/%2e%2e/key",
    "/storage/earwitness-uploads/..%2f..%2fkey",
    "/storage/earwitness-uploads/%00",
    "/storage/%2e%2e/key",
    "/storage//etc/passwd",
    "/v1/jobs/..%2f..%2fkey",
    "/v1/jobs/%00",
    "/v1/jobs/%ff%fe",
    "/v1/jobs/" + "x" * 5000,
    "/v1/jobs/%F0%9F%92%A3/transcript?format=../../key",
    "/v1/jobs/x/transcript?format=%00",
)


@pytest.fixture
def cloud(tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture) -> Iterator[LocalCloud]:
    """A cloud of which nothing crashes, and beside whose folder nothing is written."""
    with standin_cloud(tmp_path / "state") as cloud:
        yield cloud
        wait_for(lambda: cloud.queue.depth() == 0)
        assert cloud.queue.dead_letters() == []
        # Objects lie under names of their own: none is anyone's text.
        assert all(path.name.isalnum() for path in (tmp_path / "state/cloud/objects").iterdir())
    assert [name for name in listing(tmp_path) if name.split("/")[0] != "state"] == []
    assert [
        record.getMessage() for record in caplog.records if record.exc_info or record.levelno > logging.WARNING
    ] == []
    assert "Traceback" not in capfd.readouterr().err


@pytest.fixture
def phone(cloud: LocalCloud) -> Phone:
    return Phone(cloud.url, cloud.owner_token)


def drawn(files: Sequence[Hostile]) -> list[Hostile]:
    """Some of each kind."""
    chance = Random(SEED)
    kinds = defaultdict(list)
    for file in files:
        kinds[file.kind].append(file)
    return [file for some in kinds.values() for file in chance.sample(some, min(len(some), OF_EACH_KIND))]


def test_each_of_a_hundred_jobs_ends_with_a_code(
    cloud: LocalCloud,
    phone: Phone,
    files: Sequence[Hostile],
    baited: Baited,
    tmp_path: Path,
    tell: Callable[[str], None],
) -> None:
    chance, counts, began = Random(SEED), Counter(), time.monotonic()
    sample = drawn(files)
    sent = []
    for file in sample:
        declared = chance.choice(TYPES)
        body = {"content_type": declared} if declared else {}
        sent.append((file, declared, phone.send(file.content, filename=f"{file.kind}.wav", **body)))
    for file, declared, job_id in sent:
        job = phone.wait(job_id, timeout_s=JOB_BOUND_S)
        outcome = job["error"]["code"] if job["error"] else ACCEPTED
        counts[outcome] += 1
        assert outcome in file.outcomes | {"media.type_mismatch"}, (file.kind, file.name)
        assert job["state"] == ("completed" if outcome == ACCEPTED else "rejected"), (file.kind, file.name)
        if job["error"]:
            message = job["error"]["message"].replace(declared, "").replace("audio/", "")
            assert SENTENCE.fullmatch(message), message
        told = json.dumps(job)
        assert not any(secret in told for secret in (str(tmp_path), baited.bait.path, "Traceback", ".py"))
    assert len(sample) > 100
    assert counts[ACCEPTED] and counts["media.type_mismatch"] and counts["media.corrupt"]
    assert baited.taken() == []
    # After all of them, it works as before.
    assert phone.wait(phone.send(WAV))["state"] == "completed"
    tell(f"{len(sample)} jobs in {time.monotonic() - began:.1f} s: {dict(counts)}")


def test_a_file_name_is_shown_back_and_never_used(cloud: LocalCloud, phone: Phone) -> None:
    jobs = {phone.send(WAV, filename=name): name for name in TEXTS}
    for job_id, name in jobs.items():
        job = phone.wait(job_id)
        assert (job["state"], job["filename"]) == ("completed", name)
        for export in FORMATS:
            answer = phone.client.get(f"/v1/jobs/{job_id}/transcript", params={"format": export})
            assert answer.status_code == 200
            assert not {*answer.headers} & {"set-cookie", "location"}
    assert {name.rsplit("/", 1)[0] for name in cloud.objects.names("earwitness-results")} == {
        f"default/{job_id}" for job_id in jobs
    }


def test_a_file_name_that_is_no_name_is_refused(phone: Phone) -> None:
    headers = {"content-type": "application/json"}
    for name in NO_TEXTS:
        answer = phone.client.post("/v1/jobs", content=f'{{"filename": {name}}}', headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "request.invalid"), name
        assert SENTENCE.fullmatch(answer.json()["detail"].capitalize() + "."), name


def test_a_path_that_climbs_finds_nothing(cloud: LocalCloud, phone: Phone, tmp_path: Path) -> None:
    key = (tmp_path / "state/cloud/key").read_bytes()
    for path, method in product(CLIMBING, ("GET", "PUT", "DELETE", "POST")):
        answer = phone.client.request(method, path)
        assert 400 <= answer.status_code < 500, (method, path)
        assert key not in answer.content, (method, path)
        assert str(tmp_path) not in answer.text and "Traceback" not in answer.text, (method, path)
