"""How soon after its upload a recording's first model job starts, on the local cloud with stand-in workers."""

from pathlib import Path
from tempfile import TemporaryDirectory

from infra.local.cloud import LocalCloud
from tests.clouds import Phone, standin_cloud, starts, wait_for
from tests.media import encode, tone

COUNT = 50


def finalize_to_start_ms(count: int = COUNT) -> list[float]:
    """Milliseconds from an object's finalize event (its generation) to its first worker's start, for so many jobs."""
    recording = encode("wav", tone(30.0))
    with TemporaryDirectory() as name, standin_cloud(Path(name)) as cloud:
        folder, phone = Path(name), Phone(cloud.url, cloud.owner_token)
        cloud.runner.warm(["transcribe", "diarize"])
        phone.wait(phone.send(recording))  # workers, probe and connections are warm from here on
        return [_once(cloud, folder, phone, recording) for _ in range(count)]


def _once(cloud: LocalCloud, folder: Path, phone: Phone, recording: bytes) -> float:
    wait_for(lambda: cloud.queue.depth() == 0)
    before = len(starts(folder))
    created = phone.create(filename="x.wav", content_type="audio/wav")
    upload = created["upload"]
    answer = phone.put(upload, recording)
    finalized_s = int(answer.headers["x-goog-generation"]) / 1e6
    # Nothing is asked of the server meanwhile: the next look would be part of what is measured.
    wait_for(lambda: len(starts(folder)) > before, every_s=0.002)
    first = starts(folder)[before]
    phone.wait(created["job"]["job_id"])
    return (first[0] - finalized_s) * 1000
