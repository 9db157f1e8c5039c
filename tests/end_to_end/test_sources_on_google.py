"""Sources on Google's emulators: fetched after a failure, read in another bucket, and not heard twice."""

from collections.abc import Callable, Mapping
from pathlib import Path

from shared.stages import MODELS_VOLUME
from tests.clouds import starts, wait_for
from tests.google_cloud import UnpackedFunction, _storage, google_cloud
from tests.modal_server import modal_server
from tests.modal_server import standins as standin_apps
from tests.origins import SECRET, WAV, serving


def test_a_recording_is_fetched_once_and_heard_once(
    bundled: Mapping[str, UnpackedFunction], tmp_path: Path, tell: Callable[[str], None]
) -> None:
    with serving() as origin, modal_server(tmp_path / "modal") as modal:
        modal.deploy(standin_apps)
        settings = {"reuse_days": "30", "source_buckets": "default=archive"}
        with google_cloud(bundled, tmp_path, modal.environment, **settings) as cloud:
            phone, archive = cloud.phone, _storage(cloud.emulators["STORAGE_EMULATOR_HOST"]).create_bucket("archive")
            archive.blob("2026/talk.wav").upload_from_string(WAV, content_type="audio/wav")
            created = phone.create(source_url=f"{origin.url}/twice-broken/talk.wav?key={SECRET}")
            assert created["upload"] is None
            first = phone.wait(created["job"]["job_id"])
            assert (first["state"], first["filename"], first["size_bytes"]) == ("completed", "talk.wav", len(WAV))
            assert origin.count("/twice-broken/talk.wav") == 3
            created = phone.create(source_uri="gs://archive/2026/talk.wav")
            second = phone.wait(created["job"]["job_id"])
            assert (second["state"], second["reused_from"]) == ("completed", first["job_id"])
            assert {job_id for _, job_id, *_ in starts(modal.volume_folder(MODELS_VOLUME))} == {first["job_id"]}
            assert phone.client.delete(f"/v1/jobs/{second['job_id']}").status_code == 204
            wait_for(lambda: not [name for name in cloud.artifacts() if second["job_id"] in name])
            assert [name for name in cloud.artifacts() if first["job_id"] in name]
            assert archive.blob("2026/talk.wav").exists()
            missing = phone.client.post("/v1/jobs", json={"source_uri": "gs://archive/nothing.wav"})
            assert (missing.status_code, missing.json()["code"]) == (404, "source.not_found")
            for function in cloud.functions.values():
                assert SECRET not in function.log.read_text()
