"""A recording's way through the real functions, queue, stores and processes; stand-ins instead of models."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from infra.local.cloud import LocalCloud
from shared.errors import PipelineError
from shared.events import StageProgressed
from shared.requests import REPORT
from tests.clouds import Phone, behave, standin_cloud, starts, wait_for
from tests.media import REJECTS, encode, tone

WAV = encode("wav", tone(2.0))
ARTIFACTS = ["captions.srt", "captions.vtt", "transcript.json", "turns.json", "words.json"]


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    with standin_cloud(tmp_path) as cloud:
        yield cloud


@pytest.fixture
def phone(cloud: LocalCloud) -> Phone:
    return Phone(cloud.url, cloud.owner_token)


def history(cloud: LocalCloud, job_id: str) -> list[str]:
    return [
        event.type + (f":{event.data['stage']}" if "stage" in event.data else "")
        for event in cloud.jobs.history(job_id)
    ]


def test_a_recording_becomes_a_transcript_once(cloud: LocalCloud, phone: Phone) -> None:
    job_id = phone.send(WAV, filename="../talk ü.wav", content_type="audio/wav")
    job = phone.wait(job_id)
    assert (job["state"], job["progress"], job["filename"]) == ("completed", 1.0, "../talk ü.wav")
    assert job["probe"]["container"] == "wav"
    assert cloud.objects.names("earwitness-results") == [f"default/{job_id}/{name}" for name in ARTIFACTS]
    wait_for(lambda: cloud.queue.depth() == 0 and not cloud.jobs.unpublished())
    assert sorted(history(cloud, job_id)) == [
        "job.completed",
        "job.created",
        "media.validated",
        *(f"stage.completed:{name}" for name in ("attribute", "caption", "diarize", "transcribe")),
    ]
    assert phone.client.get(f"/v1/jobs/{job_id}/transcript?format=txt").text.strip().endswith("word0 word1 word2 word3")


def test_twenty_recordings_at_once_all_complete(cloud: LocalCloud, phone: Phone) -> None:
    job_ids = [phone.send(WAV) for _ in range(20)]
    assert Counter(phone.wait(job_id)["state"] for job_id in job_ids) == {"completed": 20}
    assert len(cloud.objects.names("earwitness-results")) == 20 * len(ARTIFACTS)


def test_without_diarization_nobody_is_named(cloud: LocalCloud, phone: Phone, tmp_path: Path) -> None:
    job = phone.wait(phone.send(WAV, options={"diarize": False}))
    assert job["stages"]["diarize"]["state"] == "skipped"
    transcript = phone.client.get(f"/v1/jobs/{job['job_id']}/transcript").json()
    assert transcript["speakers"] == [] and transcript["segments"][0]["speaker"] is None
    assert {stage for _, _, stage, _ in starts(tmp_path)} == {"transcribe"}


def test_a_worker_that_crashes_is_restarted_and_the_attempt_repeated(phone: Phone, tmp_path: Path) -> None:
    behave(tmp_path, transcribe={"crash": 1})
    job = phone.wait(phone.send(WAV))
    assert job["state"] == "completed"
    assert (job["stages"]["transcribe"]["attempt"], job["stages"]["diarize"]["attempt"]) == (2, 1)


def test_a_stage_that_always_crashes_fails_the_job_with_its_code(
    cloud: LocalCloud, phone: Phone, tmp_path: Path
) -> None:
    behave(tmp_path, transcribe={"crash": 99})
    job = phone.wait(phone.send(WAV))
    assert (job["state"], job["error"]["code"]) == ("failed", "stage.crashed")
    assert job["stages"]["transcribe"]["attempt"] == 3
    assert history(cloud, job["job_id"]).count("job.failed") == 1


def test_a_permanent_failure_ends_the_job_at_once_and_stops_the_other_stage(
    cloud: LocalCloud, phone: Phone, tmp_path: Path
) -> None:
    error = {"code": "media.corrupt", "message": "The file is damaged.", "retryable": False}
    behave(tmp_path, transcribe={"fail": error}, diarize={"hang": True})
    cloud.runner.warm(["diarize"])
    first_pid = wait_for(lambda: cloud.runner.pids().get("diarize"))
    job = phone.wait(phone.send(WAV))
    assert (job["state"], job["error"], job["stages"]["transcribe"]["attempt"]) == ("failed", error, 1)
    wait_for(lambda: not psutil.pid_exists(first_pid))
    behave(tmp_path)
    assert phone.wait(phone.send(WAV))["state"] == "completed"


def test_an_attempt_whose_report_was_lost_is_gathered(phone: Phone, tmp_path: Path) -> None:
    behave(tmp_path, transcribe={"silent": True})
    job = phone.wait(phone.send(WAV))
    assert (job["state"], job["stages"]["transcribe"]["attempt"]) == ("completed", 1)
    assert job["stages"]["transcribe"]["metrics"]["audio_s"] == 2.0


def test_progress_shows_and_never_falls(phone: Phone, tmp_path: Path) -> None:
    behave(tmp_path, transcribe={"sleep_s": 0.5})
    job_id = phone.send(WAV)
    seen = []
    phone.wait(job_id, lambda job: seen.append(job) or job["state"] == "completed")
    progress = [job["progress"] for job in seen]
    assert progress == sorted(progress)
    assert any(job["partial_text"] == "half of it" for job in seen)
    assert seen[-1]["partial_text"] == ""


def test_an_upload_that_never_comes_expires(tmp_path: Path) -> None:
    with standin_cloud(tmp_path, upload_expires_s=0.1, upload_grace_s=0.1) as cloud:
        phone = Phone(cloud.url, cloud.owner_token)
        job = phone.wait(phone.create()["job"]["job_id"])
        assert (job["state"], job["error"]["code"]) == ("expired", "upload.expired")


def test_a_finalize_event_that_comes_twice_changes_nothing(cloud: LocalCloud, phone: Phone) -> None:
    from infra.pipeline.intake import receive_upload

    job_id = phone.send(WAV)
    revision = phone.wait(job_id)["revision"]
    media = cloud.jobs.get(job_id).media
    receive_upload(cloud.services, media.object)
    receive_upload(cloud.services, media.object.model_copy(update={"name": "dropped/by/hand.wav"}))
    receive_upload(cloud.services, media.object.model_copy(update={"name": "default/job_unknown/media"}))
    assert phone.job(job_id)["revision"] == revision


def test_reports_need_the_token_of_their_attempt(cloud: LocalCloud, phone: Phone, tmp_path: Path) -> None:
    behave(tmp_path, transcribe={"hang": True}, diarize={"hang": True})
    job_id = phone.send(WAV)
    phone.wait(job_id, lambda job: job["stages"]["transcribe"]["attempt"] == 1)
    report = StageProgressed(stage="transcribe", attempt=1, progress=0.25)

    def answer(token: str, *, attempt: int = 1, job: str = job_id) -> int:
        body = REPORT.dump_json(report.model_copy(update={"attempt": attempt}))
        headers = {"authorization": f"Bearer {token}"}
        return phone.client.post(f"/functions/on_report/{job}", content=body, headers=headers).status_code

    sign = cloud.services.report_tokens.sign
    good = sign(job_id, "transcribe", 1)
    assert answer(good) == 200
    assert {answer("x"), answer(good[:-1]), answer(sign(job_id, "diarize", 1)), answer(good, attempt=2)} == {401}
    assert answer(sign(job_id, "transcribe", 2), attempt=2) == 410
    assert answer(sign("job_x", "transcribe", 1), job="job_x") == 404
    assert (
        phone.client.post(
            f"/functions/on_report/{job_id}", content=b"{", headers={"authorization": "Bearer x"}
        ).status_code
        == 400
    )
    assert phone.job(job_id)["stages"]["transcribe"]["progress"] == 0.25


@pytest.mark.parametrize("name", ["on_upload", "orchestrate", "sweep"])
def test_only_the_cloud_itself_calls_its_private_functions(phone: Phone, name: str) -> None:
    assert phone.client.post(f"/functions/{name}/", json={}).status_code == 401


def test_a_page_with_a_name_of_its_own_cannot_reach_the_cloud(phone: Phone) -> None:
    assert phone.client.get("/v1/jobs/x", headers={"host": "evil.example"}).status_code == 400


def test_errors_are_typed_and_say_what_is_wrong(phone: Phone) -> None:
    def refused(answer: httpx.Response) -> tuple[int, str]:
        assert answer.headers["content-type"] == "application/problem+json"
        assert "Traceback" not in answer.text
        return answer.status_code, answer.json()["code"]

    post = lambda body: refused(phone.client.post("/v1/jobs", json=body))  # noqa: E731
    assert post({"options": {"model": "nonsense"}}) == (400, "model.unknown")
    assert post({"options": {"model": "tiny.en", "language": "de"}}) == (400, "request.invalid")
    assert post({"options": {"num_speakers": 2, "min_speakers": 1}}) == (422, "request.contradictory")
    assert post({"options": {"language": "English"}}) == (400, "request.invalid")
    assert post({"content_type": "nonsense\r\nx: y"}) == (400, "request.invalid")
    assert post({"surprise": 1}) == (400, "request.invalid")
    assert refused(phone.client.get("/v1/jobs/job_x")) == (404, "job.not_found")
    job_id = phone.create()["job"]["job_id"]
    assert refused(phone.client.get(f"/v1/jobs/{job_id}/transcript")) == (409, "job.not_ready")


@pytest.mark.parametrize("name", REJECTS)
def test_an_upload_that_is_not_a_recording_is_rejected(cloud: LocalCloud, phone: Phone, name: str) -> None:
    reject = REJECTS[name]
    job = phone.wait(phone.send(reject.make(tone(2.0))))
    assert (job["state"], job["error"]["code"], job["error"]["retryable"]) == ("rejected", reject.code, False)
    assert history(cloud, job["job_id"])[-1] == "media.rejected"
    answer = phone.client.get(f"/v1/jobs/{job['job_id']}/transcript").json()
    assert (answer["code"], answer["retryable"]) == ("job.no_transcript", False)


def test_an_upload_that_is_known_to_be_too_large_is_refused_before_it_is_sent(phone: Phone) -> None:
    answer = phone.client.post("/v1/jobs", json={"size_bytes": 5_000_000_001})
    assert (answer.status_code, answer.json()["code"]) == (413, "media.too_large")
    assert "5.00 GB" in answer.json()["detail"]
    assert phone.client.post("/v1/jobs", json={"size_bytes": 0}).json()["code"] == "media.empty"


def test_a_declared_type_that_contradicts_the_content_is_rejected(phone: Phone) -> None:
    job = phone.wait(phone.send(WAV, content_type="audio/mpeg"))
    assert (job["state"], job["error"]["code"]) == ("rejected", "media.type_mismatch")
    assert "audio/mpeg" in job["error"]["message"] and "wav" in job["error"]["message"]


def test_a_recording_over_the_limit_is_rejected_with_both_lengths(tmp_path: Path) -> None:
    with standin_cloud(tmp_path, max_duration_s=1.0) as cloud:
        phone = Phone(cloud.url, cloud.owner_token)
        job = phone.wait(phone.send(WAV))
    assert (job["state"], job["error"]["code"]) == ("rejected", "media.too_long")
    assert job["error"]["message"] == "The recording is 2 s long; the limit is 1 s."


def test_an_unknown_export_format_names_those_there_are(phone: Phone) -> None:
    job_id = phone.send(WAV)
    phone.wait(job_id)
    answer = phone.client.get(f"/v1/jobs/{job_id}/transcript?format=doc")
    assert (answer.status_code, answer.json()["code"]) == (400, "request.invalid")
    assert "srt" in answer.json()["detail"]


def test_two_clouds_cannot_share_a_folder_or_a_port(cloud: LocalCloud, tmp_path: Path) -> None:
    with pytest.raises(PipelineError) as refused, standin_cloud(tmp_path):
        pass
    assert refused.value.code == "service.unavailable"
    port = int(cloud.url.rsplit(":", 1)[1])
    with pytest.raises(PipelineError) as refused:
        LocalCloud(cloud.settings.model_copy(update={"data_dir": tmp_path / "other"}), port=port)
    assert refused.value.code == "service.unavailable"


def test_the_state_of_a_stopped_cloud_reads_the_same(tmp_path: Path) -> None:
    with standin_cloud(tmp_path) as cloud:
        phone = Phone(cloud.url, cloud.owner_token)
        job_id = phone.send(WAV)
        before = phone.wait(job_id)
    with standin_cloud(tmp_path) as cloud:
        assert Phone(cloud.url, cloud.owner_token).job(job_id) == before
        assert json.loads(cloud.objects.read(cloud.jobs.get(job_id).artifacts[0].object))["model"] == "stand-in"
