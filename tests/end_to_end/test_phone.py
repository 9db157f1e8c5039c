"""What an app sees, over plain HTTP, with the real models: create, upload over a bad line, follow, read."""

import json
import shutil
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from infra.cli.sample import sample_path
from infra.exports import FORMATS
from tests.commands import follow, served
from tests.recordings import long_recording

pytestmark = [pytest.mark.models, pytest.mark.slow]


def upload_over_a_bad_line(session: str, content: bytes, cuts: list[int]) -> None:
    """Send a file, losing the connection after each number of bytes, and asking each time how much arrived."""
    parts = urlsplit(session)
    have, total = 0, len(content)
    for cut in cuts:
        head = (
            f"PUT {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-length: {total - have}\r\n"
            f"content-range: bytes {have}-{total - 1}/{total}\r\n\r\n"
        )
        with socket.create_connection((parts.hostname, parts.port)) as connection:
            connection.sendall(head.encode() + content[have:cut])
        answer = httpx.put(session, headers={"content-range": f"bytes */{total}"})
        assert answer.status_code == 308
        have = int(answer.headers["range"].removeprefix("bytes=0-")) + 1
        assert 0 < have <= cut
    last = httpx.put(session, content=content[have:], headers={"content-range": f"bytes {have}-{total - 1}/{total}"})
    assert last.status_code == 200, last.text


def test_a_recording_sent_over_a_bad_line_is_transcribed(models: Path, tmp_path: Path) -> None:
    content = long_recording(tmp_path / "call.wav", min_s=150.0).path.read_bytes()
    with served(tmp_path / "state") as cloud:
        phone = cloud.phone
        created = phone.create(filename="call.wav", content_type="audio/wav", upload="resumable")
        job_id = created["job"]["job_id"]
        assert created["job"]["state"] == "awaiting_upload"
        started = httpx.request(
            created["upload"]["method"], created["upload"]["url"], headers=created["upload"]["headers"]
        )
        assert started.status_code == 201
        upload_over_a_bad_line(started.headers["location"], content, [len(content) // 3, len(content) // 2])
        seen = follow(phone, job_id)
        exports = {name: phone.client.get(f"/v1/jobs/{job_id}/transcript", params={"format": name}) for name in FORMATS}

    assert seen[-1]["state"] == "completed", seen[-1]
    order = ["awaiting_upload", "validating", "running", "completed"]
    states = [order.index(job["state"]) for job in seen]
    assert states == sorted(states)
    assert [job["revision"] for job in seen] == sorted({job["revision"] for job in seen})
    assert [job["progress"] for job in seen] == sorted(job["progress"] for job in seen)
    assert any(0 < job["stages"]["transcribe"]["progress"] < 1 for job in seen)
    assert any(job["partial_text"] for job in seen)

    assert {answer.status_code for answer in exports.values()} == {200}
    transcript = json.loads(exports["json"].text)
    words = [word for segment in transcript["segments"] for word in segment["words"]]
    assert all(0 <= word["probability"] <= 1 and word["start_s"] <= word["end_s"] for word in words)
    for name in ("txt", "srt", "vtt", "ttml", "ass", "textgrid"):
        assert "New Jersey" in exports[name].text, name
    assert exports["rttm"].text.count("SPEAKER ") >= 8
    assert len(exports["ctm"].text.splitlines()) == len(words)


def test_the_guide_that_up_prints_works_as_it_stands(models: Path, tmp_path: Path) -> None:
    """The curl lines of the greeting, run by a shell, on the file they name."""
    shutil.copy(sample_path(), tmp_path / "talk.mp3")
    with served(tmp_path / "state") as cloud:
        shown = cloud.greeting.partition("this once:")[2].partition("API reference")[0]
        guide = shown.replace("Try, with any recording:", "")
        done = subprocess.run(["bash", "-euc", guide], cwd=tmp_path, capture_output=True, text=True)
        home = cloud.phone.client.get("/", follow_redirects=True)
    assert '"state":"completed"' in done.stdout, done
    assert "SPEAKER_01:" in done.stdout
    assert home.url.path == "/docs"
