"""The official ``openai`` client against the local cloud: every format, streams, refusals."""

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import srt
import webvtt
from openai import OpenAI

from infra.api.openai import MAX_BODY_BYTES, PATH
from infra.exports.openai import LANGUAGES, Deltas
from infra.local.cloud import LocalCloud
from shared.events import PARTIAL_TEXT_CHARACTERS
from shared.weights import MODELS
from tests.clouds import Phone, behave, standin_cloud
from tests.media import encode, tone

WAV = ("meeting.wav", encode("wav", tone(1.0)), "audio/wav")
TEXT = "word0 word1 word2 word3"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with standin_cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.fixture
def folder(cloud: LocalCloud) -> Iterator[Path]:
    """Where the stand-ins are told what to do."""
    folder = cloud.settings.models_dir
    behave(folder)
    yield folder
    behave(folder)


@pytest.fixture
def client(cloud: LocalCloud) -> OpenAI:
    return OpenAI(api_key=cloud.owner_token, base_url=f"{cloud.url}/v1", max_retries=0)


@pytest.fixture
def phone(cloud: LocalCloud) -> Phone:
    return Phone(cloud.url, cloud.owner_token)


def transcribe(client: OpenAI, **asked: Any) -> Any:
    return client.audio.transcriptions.create(**{"file": WAV, "model": "whisper-1", **asked})


def test_json_with_the_job_in_a_header(client: OpenAI, phone: Phone) -> None:
    raw = client.audio.transcriptions.with_raw_response.create(
        file=WAV, model="whisper-1", language="en", prompt="A meeting.", extra_body={"keywords": ["Earwitness"]}
    )
    answer = raw.parse()
    assert answer.text == TEXT
    assert answer.usage is not None and answer.usage.type == "duration" and answer.usage.seconds == 2
    job = phone.job(raw.headers["x-job-id"])
    assert (job["state"], job["filename"]) == ("completed", "meeting.wav")
    asked = job["options"]
    assert (asked["language"], asked["model"], asked["diarize"]) == ("en", None, False)
    assert (asked["initial_prompt"], asked["hotwords"]) == ("A meeting.", ["Earwitness"])
    assert phone.client.get(f"/v1/jobs/{job['job_id']}/transcript").status_code == 200


@pytest.mark.parametrize(
    ("granularities", "has_segments", "has_words"),
    [(None, True, False), (["segment"], True, False), (["word"], False, True), (["word", "segment"], True, True)],
)
def test_verbose_json(client: OpenAI, granularities: Any, has_segments: bool, has_words: bool) -> None:
    more = {"timestamp_granularities": granularities} if granularities else {}
    answer = transcribe(client, response_format="verbose_json", **more)
    assert (answer.text, answer.language, answer.duration, answer.task) == (TEXT, "english", 2.0, "transcribe")
    assert bool(answer.segments) == has_segments and bool(answer.words) == has_words
    if has_segments:
        (segment,) = answer.segments
        assert (segment.id, segment.start, segment.end, segment.text) == (0, 0.0, 1.9, f" {TEXT}")
        assert -0.11 < segment.avg_logprob < -0.1  # every word has 0.9
        assert segment.no_speech_prob == 0.0 and segment.tokens == [] and segment.compression_ratio > 0
    if has_words:
        assert [(word.word, word.start, word.end) for word in answer.words[:2]] == [
            ("word0", 0.0, 0.4),
            ("word1", 0.5, 0.9),
        ]


def test_text_and_captions_are_texts(client: OpenAI, tmp_path: Path) -> None:
    assert transcribe(client, response_format="text") == f"{TEXT}\n"
    (cue,) = srt.parse(transcribe(client, response_format="srt"))
    assert cue.content == TEXT
    assert [cue.text for cue in webvtt.from_string(transcribe(client, response_format="vtt"))] == [TEXT]


def test_speakers_are_letters(client: OpenAI, folder: Path) -> None:
    behave(folder, transcribe={"words": 40}, diarize={"words": 40})
    answer = transcribe(
        client, model="gpt-4o-transcribe-diarize", response_format="diarized_json", chunking_strategy="auto"
    )
    assert [segment.speaker for segment in answer.segments] == ["A", "B", "A", "B"]
    assert [segment.id for segment in answer.segments] == ["seg_0", "seg_1", "seg_2", "seg_3"]
    assert "".join(segment.text for segment in answer.segments).strip() == answer.text
    streamed = list(transcribe(client, response_format="diarized_json", stream=True))
    segments = [event for event in streamed if event.type == "transcript.text.segment"]
    assert [(segment.speaker, segment.text) for segment in segments] == [
        (segment.speaker, segment.text) for segment in answer.segments
    ]


def test_a_stream_tells_what_is_heard_before_the_end(client: OpenAI, folder: Path, phone: Phone) -> None:
    behave(folder, transcribe={"sleep_s": 0.5, "partial": " word0 word1"})
    stream = transcribe(client, stream=True)
    first = next(iter(stream))
    assert (first.type, first.delta) == ("transcript.text.delta", "word0 word1")
    job = phone.job(stream.response.headers["x-job-id"])
    assert job["state"] == "running"
    rest = list(stream)
    assert rest[-1].type == "transcript.text.done" and rest[-1].text == TEXT and rest[-1].usage.seconds == 2
    deltas = [first.delta] + [event.delta for event in rest if event.type == "transcript.text.delta"]
    assert "".join(deltas) == rest[-1].text


def test_a_failure_in_the_middle_of_a_stream_is_an_error(client: OpenAI, folder: Path) -> None:
    error = {"code": "media.corrupt", "message": "The file is damaged.", "retryable": False}
    behave(folder, transcribe={"sleep_s": 0.3, "partial": " word0", "fail": error})
    with pytest.raises(openai.APIError, match="The file is damaged") as raised:
        list(transcribe(client, stream=True))
    assert raised.value.code == "media.corrupt"


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_recording_is_refused_with_its_code(client: OpenAI, phone: Phone, stream: bool) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as raised:
        transcribe(client, file=b"no recording", stream=stream)
    assert raised.value.code == "media.unsupported"
    assert "format that is accepted" in raised.value.message
    answer = raised.value.response
    assert answer.headers["content-type"] == "application/problem+json"
    assert phone.job(answer.headers["x-job-id"])["state"] == "rejected"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"model": "gpt-5"}, "model.unknown"),
        ({"language": "English"}, "request.invalid"),
        ({"temperature": 3}, "request.invalid"),
        ({"response_format": "docx"}, "request.invalid"),
    ],
)
def test_wrong_fields_are_refused(client: OpenAI, asked: dict[str, Any], code: str) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        transcribe(client, **asked)
    assert raised.value.code == code


def test_without_a_file_or_a_key_or_scopes_nothing_is_done(cloud: LocalCloud, client: OpenAI, phone: Phone) -> None:
    assert phone.client.post(PATH, data={"model": "whisper-1"}).json()["code"] == "request.invalid"
    with pytest.raises(openai.AuthenticationError):
        transcribe(client.with_options(api_key="ew_x"))
    made = phone.client.post("/v1/keys", json={"name": "half", "scopes": ["jobs:write"]}).json()
    with pytest.raises(openai.PermissionDeniedError):
        transcribe(client.with_options(api_key=made["token"]))


def test_a_body_that_is_too_long_is_a_problem(cloud: LocalCloud, phone: Phone) -> None:
    """Announced, it is refused before it is sent; streamed, once it is too long; below the limit it is taken."""
    large = bytes(2_000_000)
    taken = phone.client.post(PATH, files={"file": large})
    assert (taken.status_code, taken.json()["code"]) == (422, "media.unsupported")

    def streamed() -> Iterator[bytes]:
        yield b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(MAX_BODY_BYTES // len(large) + 1):
            yield large

    headers = {"content-type": "multipart/form-data; boundary=x", **phone.client.headers}
    refused = phone.client.post(PATH, headers=headers, content=streamed())
    assert (refused.status_code, refused.json()["code"]) == (413, "request.too_large")
    assert refused.headers["content-type"] == "application/problem+json"
    connection = http.client.HTTPConnection(cloud.url.removeprefix("http://"), timeout=10)
    connection.request("POST", PATH, headers={**headers, "content-length": str(MAX_BODY_BYTES + 1)})
    announced = connection.getresponse()
    assert (announced.status, json.loads(announced.read())["code"]) == (413, "request.too_large")
    connection.close()


def test_many_at_once(client: OpenAI) -> None:
    texts: list[str] = []
    threads = [threading.Thread(target=lambda: texts.append(transcribe(client).text)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert texts == [TEXT] * 8


def test_deltas_are_never_taken_back_and_survive_a_tail_that_is_cut() -> None:
    words = [f" word{number}" for number in range(200)]
    deltas, said = Deltas(), ""
    for end in range(0, 201, 7):
        said += deltas.heard("".join(words[:end])[-100:])
    assert said and "".join(words).strip().startswith(said)
    whole = "".join(words).strip()
    assert said + deltas.rest(whole) == whole
    assert Deltas().rest("") == ""


def test_after_a_gap_deltas_wait_for_the_end() -> None:
    deltas = Deltas()
    assert Deltas().heard("x" * PARTIAL_TEXT_CHARACTERS) == ""  # how it began is not known
    assert deltas.heard(" one two") == "one two"
    assert deltas.heard("five six") == ""
    assert deltas.rest("one two three four five six") == " three four five six"
    assert deltas.rest("quite another") == ""


def test_every_language_of_every_model_has_a_name() -> None:
    assert len(LANGUAGES) == 100
    assert {code for model in MODELS.values() for code in model.languages or ()} <= LANGUAGES.keys()


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_under_a_key_is_one_job_however_often_it_is_broken_off(
    client: OpenAI, cloud: LocalCloud, folder: Path, phone: Phone, stream: bool
) -> None:
    asked = {"prompt": f"Broken off {stream}.", "extra_headers": {"Idempotency-Key": f"broken-{stream}"}}
    behave(folder, transcribe={"sleep_s": 1.0})
    before = len(cloud.jobs.list())
    if stream:
        with transcribe(client, stream=True, **asked) as broken:
            next(iter(broken))
        events = list(transcribe(client, stream=True, **asked))
        assert events[-1].type == "transcript.text.done" and events[-1].text == TEXT
        deltas = [event.delta for event in transcribe(client, stream=True, **asked) if "delta" in event.type]
        assert "".join(deltas) == TEXT
    else:
        with pytest.raises(openai.APITimeoutError):
            transcribe(client.with_options(timeout=0.4), **asked)
        assert transcribe(client, **asked).text == TEXT
        again = client.audio.transcriptions.with_raw_response.create(file=WAV, model="whisper-1", **asked)
        assert (again.parse().text, again.headers["idempotency-replayed"]) == (TEXT, "true")
    (job, *_), count = cloud.jobs.list(), len(cloud.jobs.list())
    assert count == before + 1
    assert phone.client.delete(f"/v1/jobs/{job.job_id}").status_code == 204
    with pytest.raises(openai.NotFoundError):  # nothing of what was said is kept beside the job
        transcribe(client, **asked, **({"stream": True} if stream else {}))


def test_another_recording_under_a_key_is_refused(client: OpenAI) -> None:
    asked = {"extra_headers": {"Idempotency-Key": "one"}}
    assert transcribe(client, **asked).text == TEXT
    with pytest.raises(openai.ConflictError) as raised:
        transcribe(client, **asked, file=("b.wav", encode("wav", tone(2.0))))
    assert raised.value.code == "idempotency.mismatch"
