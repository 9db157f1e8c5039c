"""The whole way on Google's emulators: bundles under functions-framework, pushes, and Modal's client and containers.

Stand-ins take the place of models but in the last test, which compares the transcript with the local cloud's.
"""

import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from shared.stages import MODELS_VOLUME
from tests.clouds import behave, wait_for
from tests.google_cloud import GoogleCloud, UnpackedFunction, google_cloud
from tests.media import encode, tone
from tests.modal_server import ModalServer, modal_server
from tests.modal_server import standins as standin_apps
from tests.recordings import sample
from tests.unit.test_deliveries import bare_push

WAV = encode("wav", tone(2.0))
ARTIFACTS = ["captions.srt", "captions.vtt", "transcript.json", "turns.json", "words.json"]
JOBS = 20
KILLS = 15
ENDED_S = 150.0


def test_while_modal_cannot_be_reached_a_stage_stays_ready_and_says_why(
    bundled: Mapping[str, UnpackedFunction], tmp_path: Path, tell: Callable[[str], None]
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        nobody.listen()  # and never accepts: a server that refuses is known sooner
        nowhere = {
            "MODAL_SERVER_URL": f"http://127.0.0.1:{nobody.getsockname()[1]}",
            "MODAL_TOKEN_ID": "ak-test",
            "MODAL_TOKEN_SECRET": "as-test",
        }
        with google_cloud(bundled, tmp_path, nowhere, is_swept=False) as cloud:
            phone = cloud.phone
            job_id = phone.send(WAV, content_type="audio/wav")
            job = phone.wait(job_id, lambda job: all(stage(job, name)["error"] for name in ("transcribe", "diarize")))
            assert job["state"] == "running"
            for name in ("transcribe", "diarize"):
                assert (stage(job, name)["state"], stage(job, name)["attempt"]) == ("pending", 1)
                assert stage(job, name)["error"]["code"] == "service.unavailable"
                assert stage(job, name)["error"]["message"].startswith("Modal ")
            # The event once more, until both stages are due again: how long does the function take to answer?
            (event, *_) = [event for event in cloud.events(job_id) if event.type == "media.validated"]
            headers, body = bare_push(event.to_json().encode())
            waits = [0.0]

            def is_tried_again() -> bool:
                started = time.monotonic()
                orchestrate = cloud.functions["orchestrate"].url
                answer = httpx.post(orchestrate, content=body, headers=headers, timeout=30.0, trust_env=False)
                waits.append(time.monotonic() - started)
                assert answer.status_code == 200
                return stage(phone.job(job_id), "transcribe")["attempt"] == 2

            wait_for(is_tried_again, every_s=0.2)
            assert max(waits) < 10.0
    tell(f"Modal is silent: orchestrate answered within {max(waits):.1f} s")


def stage(job: dict[str, Any], name: str) -> dict[str, Any]:
    return job["stages"][name]


@pytest.fixture
def standins(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """A Modal server on which stand-ins are deployed under the names of the GPU jobs: the variables that lead there."""
    with modal_server(tmp_path / "modal") as server:
        server.deploy(standin_apps)
        said = {"sleep_s": 0.5, "words": 40}  # of two speakers
        behave(server.volume_folder(MODELS_VOLUME), transcribe=said, diarize=said)
        yield server.environment


def test_a_recording_goes_the_whole_way(
    bundled: Mapping[str, UnpackedFunction], standins: Mapping[str, str], tmp_path: Path, tell: Callable[[str], None]
) -> None:
    started = time.monotonic()
    with google_cloud(bundled, tmp_path, standins) as cloud:
        ready_s = time.monotonic() - started
        job_id = cloud.phone.send(WAV, content_type="audio/wav", filename="talk.wav")
        job = cloud.phone.wait(job_id)
        done_s = time.monotonic() - started - ready_s
        assert job["state"] == "completed", job
        check_once(cloud, [job_id])
        lines = cloud.phone.client.get(f"/v1/jobs/{job_id}/transcript?format=srt").text
        assert "word0" in lines
        api = OpenAI(api_key=cloud.token, base_url=f"{cloud.functions['api'].url}/v1", max_retries=0)
        waited = api.audio.transcriptions.with_raw_response.create(file=WAV, model="whisper-1", response_format="srt")
        assert "word0" in waited.text and cloud.phone.job(waited.headers["x-job-id"])["state"] == "completed"
        check_editing(cloud, job_id)
    tell(f"the whole way on emulators: {done_s:.1f} s for the job, {ready_s:.1f} s for emulators and functions")


def check_editing(cloud: GoogleCloud, job_id: str) -> None:
    """Every change of a transcript, kept in Firestore and Cloud Storage, told on the topic, and gone with the job."""
    api, path = cloud.phone.client, f"/v1/jobs/{job_id}/transcript"

    def done(method: str, below: str, body: Any = None, **headers: str) -> Any:
        answer = api.request(method, f"{path}{below}", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    first = done("GET", "")
    ada, other = [speaker["speaker"] for speaker in first["speakers"]][:2]
    assert done("PATCH", f"/speakers/{ada}", {"name": "Ada"})["version"] == 2
    edits = {"base_version": 2, "edits": [{"segment": 0, "text": "Good morning."}]}
    for _ in range(2):
        assert done("POST", "/edits", edits, **{"idempotency-key": "edit"})["version"] == 3
    assert api.post(f"{path}/edits", json=edits).json()["code"] == "transcript.conflict"
    assert done("POST", "/speakers/merge", {"speakers": [other], "into": ada}, **{"if-match": '"3"'})["version"] == 4
    found = done("GET", "/search?q=good+morning&version=3")
    assert (found["total"], found["data"][0]["label"]) == (1, "Ada")
    assert done("GET", "/versions/3/diff")["words"][0]["after"]["text"] == "Good morning."
    assert "Ada" in api.get(f"{path}?format=vtt").text and "Ada" not in api.get(f"{path}?format=vtt&version=1").text
    assert done("POST", "/versions/1/restore")["version"] == 5
    assert done("GET", "") == {**first, "version": 5}
    assert api.get(f"{path}/sentences", headers={"if-none-match": '"5"'}).status_code == 304
    page = done("GET", "/versions?limit=3")
    rest = done("GET", f"/versions?cursor={page['next_cursor']}")
    assert [row["version"] for row in (*page["data"], *rest["data"])] == [5, 4, 3, 2, 1]
    # An event that was delivered twice has one id.
    edited = wait_for(
        lambda: len(told := {event.id: event for event in cloud.events(job_id) if "edited" in event.type}) == 4 and told
    )
    assert [event.data["version"]["number"] for event in edited.values()] == [2, 3, 4, 5]
    assert [row["action"] for row in api.get("/v1/audit?limit=4").json()["data"]] == ["transcript.edited"] * 4
    assert api.delete(f"/v1/jobs/{job_id}").status_code == 204
    wait_for(lambda: not [name for name in cloud.artifacts() if job_id in name])


def check_once(cloud: GoogleCloud, job_ids: list[str]) -> None:
    """One set of artifacts a job, and each stage and the job itself completed once, whatever came twice."""
    wait_for(lambda: {event.jobid for event in cloud.events() if event.type == "job.completed"} == set(job_ids))
    assert cloud.artifacts() == sorted(f"default/{job_id}/{name}" for job_id in job_ids for name in ARTIFACTS)
    known = {event.id: event for event in cloud.events()}  # an event that was delivered twice has one id
    told = Counter((event.jobid, event.type, event.data.get("stage")) for event in known.values())
    endings = {what: count for what, count in told.items() if what[1] in ("stage.completed", "job.completed")}
    assert set(endings.values()) == {1} and len(endings) == len(job_ids) * 5


def ended(cloud: GoogleCloud, job_id: str) -> dict[str, Any]:
    """A job once it is over; one that never is fails with its story."""
    try:
        return cloud.phone.wait(job_id, timeout_s=ENDED_S)
    except AssertionError as error:
        told = [event.type for event in cloud.events(job_id)]
        raise AssertionError(f"{cloud.phone.job(job_id)}\n{told}\n{cloud.sweeps[-3:]}") from error


def test_twenty_jobs_survive_functions_that_are_killed_at_random(
    bundled: Mapping[str, UnpackedFunction], standins: Mapping[str, str], tmp_path: Path, tell: Callable[[str], None]
) -> None:
    chance = random.Random(20)
    with google_cloud(bundled, tmp_path, standins, lease_s="3", upload_late_s="3", probe_timeout_s="5") as cloud:
        job_ids: list[str] = []
        killed: Counter[str] = Counter()
        while len(job_ids) < JOBS or killed.total() < KILLS:
            if len(job_ids) < JOBS:
                job_ids.append(cloud.phone.send(WAV, content_type="audio/wav"))
            # One that is at work: a function that has only begun to start has nothing to lose.
            served = [function for name, function in cloud.functions.items() if name != "api" and function.answers()]
            if served and killed.total() < KILLS:
                victim = chance.choice(served)
                time.sleep(chance.uniform(0.0, 0.5))  # the point of it: any moment may be the one
                victim.kill()
                victim.start()
                killed[victim.function.name] += 1
        jobs = [ended(cloud, job_id) for job_id in job_ids]
        assert {job["state"] for job in jobs} == {"completed"}
        check_once(cloud, job_ids)
        again = sum(job["stages"][stage]["attempt"] - 1 for job in jobs for stage in job["stages"])
        mended: Counter[str] = Counter()
        for swept in cloud.sweeps:
            mended.update(swept)
        twice = len(cloud.events()) - len({event.id for event in cloud.events()})
    tell(f"{JOBS} jobs completed once each; killed at work: {dict(killed)}")
    tell(f"attempts beyond the first: {again}; events delivered again: {twice}; swept: {dict(mended)}")


@pytest.mark.models
@pytest.mark.slow
def test_a_recording_on_google_and_modal_gives_what_it_gives_here(
    bundled: Mapping[str, UnpackedFunction],
    deployed: ModalServer,
    made_here: Mapping[str, bytes],
    tmp_path: Path,
    tell: Callable[[str], None],
) -> None:
    """The deployed functions, the deployed models, a real recording: the same bytes as on the local cloud."""
    with google_cloud(bundled, tmp_path, deployed.environment) as cloud:
        started = time.monotonic()
        job_id = cloud.phone.send(sample().path.read_bytes(), content_type="audio/wav", filename="sample.wav")
        job = cloud.phone.wait(job_id, timeout_s=240.0)
        took_s = time.monotonic() - started
        assert job["state"] == "completed", job
        check_once(cloud, [job_id])
        there = {name: cloud.artifact(f"default/{job_id}/{name}") for name in made_here}
    assert there == made_here
    tell(f"emulators and Modal's containers: 30 s of audio in {took_s:.1f} s")
