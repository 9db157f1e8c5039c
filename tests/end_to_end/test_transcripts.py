"""Transcripts over HTTP: read, searched, exported, corrected."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from infra.exports import FORMATS
from infra.local.cloud import LocalCloud
from infra.pipeline.keys import create_key
from shared.captions import captions
from shared.keys import SCOPES
from shared.options import CaptionRules
from shared.transcript import Transcript
from tests.clouds import Phone, behave, standin_cloud, wait_for
from tests.media import encode, tone

WAV = encode("wav", tone(1.0))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    folder = tmp_path_factory.mktemp("transcripts")
    behave(folder, transcribe={"words": 40}, diarize={"words": 40})
    with standin_cloud(folder) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def phone(cloud: LocalCloud) -> Phone:
    return Phone(cloud.url, cloud.owner_token)


@pytest.fixture(scope="module")
def read_only(phone: Phone) -> str:
    """A job that no test changes: forty words of two speakers, who change every ten words."""
    return completed(phone)


@pytest.fixture
def job_id(phone: Phone) -> str:
    return completed(phone)


def completed(phone: Phone) -> str:
    job_id = phone.send(WAV)
    assert phone.wait(job_id)["state"] == "completed"
    return job_id


class Reader:
    """One job's transcript over HTTP."""

    def __init__(self, phone: Phone, job_id: str) -> None:
        self._client = phone.client
        self._path = f"/v1/jobs/{job_id}/transcript"

    def ask(self, method: str, path: str = "", **options: Any) -> httpx.Response:
        return self._client.request(method, f"{self._path}{path}", **options)

    def get(self, path: str = "", **query: Any) -> dict[str, Any]:
        return self.done(self.ask("GET", path, params=query))

    def text(self, format: str, **query: Any) -> str:
        answer = self.ask("GET", params={"format": format, **query})
        assert answer.status_code == 200, answer.text
        return answer.text

    def done(self, answer: httpx.Response) -> dict[str, Any]:
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def code(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def test_every_export_says_its_type_and_version(phone: Phone, read_only: str) -> None:
    reader = Reader(phone, read_only)
    for name, kind in FORMATS.items():
        answer = reader.ask("GET", params={"format": name})
        assert answer.status_code == 200 and answer.headers["etag"] == '"1"'
        assert answer.headers["content-type"].startswith(kind.media_type)
    assert code(reader.ask("GET", params={"format": "docx"})) == (400, "request.invalid")


def test_captions_are_cut_as_the_query_says(phone: Phone, read_only: str) -> None:
    reader = Reader(phone, read_only)
    transcript = Transcript.from_json(json.dumps(reader.get()))
    for rules in ({}, {"max_line_characters": 12, "max_lines": 1}, {"max_duration_s": 1.0}, {"max_gap_s": 0.1}):
        cues = re.findall(r"-->", reader.text("vtt", **rules))
        assert len(cues) == len(captions(transcript, CaptionRules(**rules)))
    narrow = reader.text("vtt", max_line_characters=12, max_lines=1)
    assert narrow != reader.text("vtt")
    assert code(reader.ask("GET", params={"format": "srt", "max_lines": 0})) == (400, "request.invalid")
    contradiction = {"format": "srt", "min_duration_s": 9, "max_duration_s": 2}
    assert code(reader.ask("GET", params=contradiction)) == (422, "request.contradictory")


def test_sentences_and_paragraphs_are_of_one_speaker_each_and_in_pages(phone: Phone, read_only: str) -> None:
    reader = Reader(phone, read_only)
    for kind in ("/sentences", "/paragraphs"):
        whole = reader.get(kind)
        assert [one["speaker"] for one in whole["data"]] == ["SPEAKER_00", "SPEAKER_01"] * 2
        assert [(one["first_word"], one["word_count"]) for one in whole["data"]] == [(n, 10) for n in (0, 10, 20, 30)]
        assert whole["data"][1]["text"].startswith("word10 word11") and whole["data"][1]["start_s"] == 5.0
        pages, cursor = [], None
        while True:
            page = reader.get(kind, limit=3, **({"cursor": cursor} if cursor else {}))
            pages += page["data"]
            if (cursor := page["next_cursor"]) is None:
                break
        assert pages == whole["data"] and whole["version"] == 1


def test_search_finds_phrases_with_times_and_context(phone: Phone, read_only: str) -> None:
    reader = Reader(phone, read_only)
    found = reader.get("/search", q="WORD12, word13")
    match = found["data"][0]
    assert (found["total"], match["first_word"], match["word_count"]) == (1, 12, 2)
    assert (match["start_s"], match["end_s"], match["speaker"]) == (6.0, 6.9, "SPEAKER_01")
    assert match["before"].endswith("word11") and match["after"].startswith("word14")
    assert reader.get("/search", q="word")["total"] == 0
    assert reader.get("/search", q="!")["data"] == []
    assert code(reader.ask("GET", "/search")) == (400, "request.invalid")
    assert code(reader.ask("GET", "/search", params={"q": "x" * 201})) == (400, "request.invalid")


@pytest.mark.parametrize("path", ["", "/sentences", "/paragraphs", "/search?q=word1", "?format=srt", "?version=1"])
def test_who_has_a_version_already_is_not_sent_it_again(phone: Phone, job_id: str, path: str) -> None:
    reader = Reader(phone, job_id)
    first = reader.ask("GET", path)
    assert (first.headers["etag"], first.headers["cache-control"]) == ('"1"', "private, no-cache")
    for tag in (first.headers["etag"], 'W/"1"', '"7", "1"', "*"):
        same = reader.ask("GET", path, headers={"if-none-match": tag})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", '"1"')
    reader.done(reader.ask("PATCH", "/speakers/SPEAKER_00", json={"name": "Ada"}))
    later = reader.ask("GET", path, headers={"if-none-match": '"1"'})
    assert (later.status_code, later.headers["etag"]) == ((304, '"1"') if "version" in path else (200, '"2"'))
    if "version" not in path:
        assert later.content != first.content


def test_a_tag_opens_nothing(cloud: LocalCloud, phone: Phone, read_only: str) -> None:
    stranger = Reader(Phone(cloud.url, create_key(cloud.services, "evil", "x").token), read_only)
    for path in ("", "/sentences", "/search?q=word1"):
        assert code(stranger.ask("GET", path, headers={"if-none-match": "*"})) == (404, "job.not_found")
    assert code(Reader(phone, read_only).ask("GET", "?format=docx", headers={"if-none-match": "*"}))[0] == 400


def test_a_speaker_gets_a_name_that_every_export_has(phone: Phone, job_id: str) -> None:
    reader = Reader(phone, job_id)
    answer = reader.ask("PATCH", "/speakers/SPEAKER_01", json={"name": "Zoë Ünal"}, headers={"if-match": '"1"'})
    assert reader.done(answer)["version"] == 2 and answer.headers["etag"] == '"2"'
    assert phone.job(job_id)["transcript_version"] == 2
    for name in ("json", "txt", "srt", "vtt", "ttml", "ass", "rttm", "textgrid"):
        assert re.search("Zoë.Ünal", reader.text(name)), name
        assert not re.search("Zoë.Ünal", reader.text(name, version=1)), name
    assert reader.get("/sentences")["data"][1]["label"] == "Zoë Ünal"
    assert code(reader.ask("PATCH", "/speakers/SPEAKER_09", json={"name": "x"})) == (404, "transcript.no_such_speaker")
    for name in ("", " x", "x\ny", "x\x00", "x" * 101, 5):
        assert code(reader.ask("PATCH", "/speakers/SPEAKER_01", json={"name": name})) == (400, "request.invalid")
    assert reader.done(reader.ask("PATCH", "/speakers/SPEAKER_01", json={"name": None}))["version"] == 3
    assert "Zoë" not in reader.text("txt")


def test_merged_speakers_are_one_everywhere(phone: Phone, job_id: str) -> None:
    reader = Reader(phone, job_id)
    body = {"speakers": ["SPEAKER_01"], "into": "SPEAKER_00", "base_version": 1}
    assert reader.done(reader.ask("POST", "/speakers/merge", json=body))["change"] == "speakers_merged"
    found = reader.get()
    assert [one["speaker"] for one in found["speakers"]] == ["SPEAKER_00"]
    assert {one["speaker"] for part in ("segments", "turns") for one in found[part]} == {"SPEAKER_00"}
    assert "SPEAKER_01" not in reader.text("rttm")


def test_edited_text_keeps_the_times_of_words_that_stay(phone: Phone, job_id: str) -> None:
    reader = Reader(phone, job_id)
    before = reader.get()
    edits = [
        {"segment": 0, "text": "word0 Word1, changed word3 word4 word5 word6 word7 word8 word9"},
        {"first_word": 12, "word_count": 2, "text": "twelve and thirteen"},
        {"segment": 2, "speaker": "SPEAKER_01"},
    ]
    made = reader.done(reader.ask("POST", "/edits", json={"base_version": 1, "edits": edits}))
    assert (made["version"], made["change"], made["summary"]) == (2, "edited", "3 places were edited.")
    after = reader.get()
    old = {word["text"]: word for segment in before["segments"] for word in segment["words"]}
    for segment in after["segments"]:
        for word in segment["words"]:
            if word["text"] in old and segment is not after["segments"][2]:
                assert word == old[word["text"]]
    first = after["segments"][0]["words"]
    assert [(word["start_s"], word["end_s"]) for word in first] == [(n * 0.5, n * 0.5 + 0.4) for n in range(10)]
    assert (first[2]["text"], first[2]["probability"], first[3]["probability"]) == (" changed", 1.0, 0.9)
    assert after["segments"][2]["speaker"] == "SPEAKER_01"
    assert reader.get("/search", q="twelve and")["data"][0]["start_s"] == 6.0
    assert "twelve and thirteen" in " ".join(reader.text("srt").split())
    found = reader.get("/versions/2/diff")
    assert [(change["kind"], change["before"]["text"], change["after"]["text"]) for change in found["words"]] == [
        ("replaced", "word1 word2", "Word1, changed"),
        ("replaced", "word12 word13", "twelve and thirteen"),
    ]
    assert (found["words"][1]["before"]["start_s"], found["words"][1]["after"]["end_s"]) == (6.0, 6.9)
    assert [(one["before"], one["after"]) for one in found["speakers"]] == [("SPEAKER_00", "SPEAKER_01")]
    assert reader.get("/versions/1/diff", against=2)["words"][0]["after"]["text"] == "word1 word2"


def test_a_change_of_another_version_than_the_current_is_a_conflict(phone: Phone, job_id: str) -> None:
    reader = Reader(phone, job_id)
    edit = {"base_version": 1, "edits": [{"segment": 0, "text": "x"}]}
    assert reader.ask("POST", "/edits", json=edit).status_code == 200
    conflict = (409, "transcript.conflict")
    assert code(reader.ask("POST", "/edits", json=edit)) == conflict
    assert (
        code(reader.ask("PATCH", "/speakers/SPEAKER_00", json={"name": "A"}, headers={"if-match": '"1"'})) == conflict
    )
    assert code(reader.ask("POST", "/versions/1/restore", headers={"if-match": '"3"'})) == conflict
    named = {"name": "A", "base_version": 2}
    wrong = reader.ask("PATCH", "/speakers/SPEAKER_00", json=named, headers={"if-match": '"1"'})
    assert code(wrong) == (400, "request.invalid")
    assert reader.ask("PATCH", "/speakers/SPEAKER_00", json=named, headers={"if-match": "*"}).status_code == 200


def test_of_many_editors_at_once_one_wins_each_version(phone: Phone, job_id: str) -> None:
    reader = Reader(phone, job_id)

    def edit(number: int) -> int:
        body = {"base_version": 1, "edits": [{"segment": 0, "text": f"editor {number}"}]}
        return reader.ask("POST", "/edits", json=body).status_code

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(edit, range(12)))
    assert sorted(answers) == [200] + [409] * 11
    assert phone.job(job_id)["transcript_version"] == 2
    winner = answers.index(200)
    assert reader.get()["segments"][0]["words"][-1]["text"] == f" {winner}"
    with ThreadPoolExecutor(4) as pool:  # without a version all are made, one after the other
        rename = lambda n: reader.ask("PATCH", f"/speakers/SPEAKER_0{n % 2}", json={"name": f"N{n}"})  # noqa: E731
        assert {answer.status_code for answer in pool.map(rename, range(4))} <= {200, 409}


def test_who_names_no_version_is_refused_by_no_other_editor(phone: Phone, job_id: str) -> None:
    reader = Reader(phone, job_id)
    for segment in range(4):  # an app names all speakers at once, and each name is a request
        edit = {"segment": segment, "speaker": f"SPEAKER_0{segment}"}
        body = {"base_version": segment + 1, "edits": [edit, {"segment": segment, "text": f"Text {segment}"}]}
        reader.done(reader.ask("POST", "/edits", json=body))

    def name(number: int) -> int:
        asked = {"name": f"Name {number}"}
        return reader.ask("PATCH", f"/speakers/SPEAKER_0{number % 4}", json=asked).status_code

    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(name, range(12))) == {200}
    found = reader.get()
    assert found["version"] == 5 + 12 and len(found["speakers"]) == 4


def test_versions_tell_what_was_done_by_whom_and_can_be_restored(cloud: LocalCloud, phone: Phone, job_id: str) -> None:
    reader = Reader(phone, job_id)
    for name in ("Ada", "Grace"):
        assert reader.ask("PATCH", "/speakers/SPEAKER_00", json={"name": name}).status_code == 200
    restored = reader.done(reader.ask("POST", "/versions/2/restore", headers={"if-match": '"3"'}))
    assert (restored["version"], restored["change"]) == (4, "restored")
    assert reader.get()["speakers"][0]["name"] == "Ada"
    listed = reader.get("/versions", limit=3)
    assert [one["version"] for one in listed["data"]] == [4, 3, 2]
    assert all(re.fullmatch("key_[0-9a-f]{20}", one["actor"]) for one in listed["data"])
    last = reader.get("/versions", cursor=listed["next_cursor"])
    assert [(one["version"], one["change"], one["actor"]) for one in last["data"]] == [(1, "transcribed", "")]
    assert last["next_cursor"] is None
    assert (
        reader.get("/versions/3/diff")["names"][0] | {"before": "Ada", "after": "Grace"}
        == (reader.get("/versions/3/diff")["names"][0])
    )
    assert code(reader.ask("GET", params={"version": 5})) == (404, "transcript.no_such_version")
    assert code(reader.ask("GET", "/versions/5/diff")) == (404, "transcript.no_such_version")
    assert code(reader.ask("POST", "/versions/9/restore")) == (404, "transcript.no_such_version")
    events = [event for event in cloud.jobs.history(job_id) if event.type == "transcript.edited"]
    assert [event.data["version"]["number"] for event in events] == [2, 3, 4]
    artifact = events[-1].fact.version.artifacts[1].object  # type: ignore[attr-defined]
    assert b"Ada" in cloud.objects.read(artifact)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"edits": [{"segment": 0, "text": "x"}]}, (400, "request.invalid")),
        ({"base_version": 1, "edits": []}, (400, "request.invalid")),
        ({"base_version": 1, "edits": [{"segment": 0}]}, (422, "request.contradictory")),
        ({"base_version": 1, "edits": [{"segment": 99, "text": "x"}]}, (422, "transcript.no_such_place")),
        ({"base_version": 1, "edits": [{"segment": 0, "text": "x"}] * 2}, (422, "transcript.no_such_place")),
        ({"base_version": 1, "edits": [{"segment": 0, "text": "x" * 2001}]}, (400, "request.invalid")),
        ({"base_version": 1, "edits": [{"segment": 0, "speaker": "Ada"}]}, (400, "request.invalid")),
        ({"base_version": 1, "edits": [{"segment": "0", "text": "x"}]}, (400, "request.invalid")),
    ],
)
def test_edits_that_make_no_sense_are_refused(
    phone: Phone, read_only: str, body: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert code(Reader(phone, read_only).ask("POST", "/edits", json=body)) == expected
    assert phone.job(read_only)["transcript_version"] == 1


def test_any_text_can_be_written_and_is_read_as_it_is(phone: Phone, job_id: str) -> None:
    reader = Reader(phone, job_id)
    text = "<b>\u202e {\\an8} --> \U0001f600 日本 'quote' \"x\" & é"
    body = {"base_version": 1, "edits": [{"segment": 0, "text": text}]}
    assert reader.ask("POST", "/edits", json=body).status_code == 200
    assert "".join(word["text"] for word in reader.get()["segments"][0]["words"]).strip() == text
    for name in FORMATS:
        reader.text(name)
    lone = '{"base_version": 2, "edits": [{"segment": 0, "text": "\\ud800"}]}'
    headers = {"content-type": "application/json"}
    assert code(reader.ask("POST", "/edits", content=lone, headers=headers)) == (400, "request.invalid")


def test_an_edit_repeated_under_its_key_is_made_once(phone: Phone, job_id: str) -> None:
    reader = Reader(phone, job_id)
    body = {"base_version": 1, "edits": [{"segment": 0, "text": "x"}]}
    answers = [reader.ask("POST", "/edits", json=body, headers={"idempotency-key": job_id}) for _ in range(2)]
    assert [answer.json()["version"] for answer in answers] == [2, 2]
    assert answers[1].headers["idempotency-replayed"] == "true"


def test_scopes_and_tenants_are_kept_apart(cloud: LocalCloud, phone: Phone, read_only: str) -> None:
    reader = Reader(
        Phone(cloud.url, create_key(cloud.services, "default", "r", scopes=("transcripts:read",)).token), read_only
    )
    stranger = Reader(Phone(cloud.url, create_key(cloud.services, "evil", "x", scopes=tuple(SCOPES)).token), read_only)
    unknown = Reader(phone, "job_0")
    edit = {"base_version": 1, "edits": [{"segment": 0, "text": "x"}]}
    reading = [
        ("GET", path, None)
        for path in ("", "/sentences", "/paragraphs", "/search?q=a", "/versions", "/versions/1/diff")
    ]
    writing = [
        ("PATCH", "/speakers/SPEAKER_00", {"name": "x"}),
        ("POST", "/speakers/merge", {"speakers": ["SPEAKER_01"], "into": "SPEAKER_00"}),
        ("POST", "/edits", edit),
        ("POST", "/versions/1/restore", None),
    ]
    for method, path, body in (*reading, *writing):
        for asked in (stranger, unknown):
            assert code(asked.ask(method, path, json=body)) == (404, "job.not_found")
        answer = reader.ask(method, path, json=body)
        assert answer.status_code == 200 if method == "GET" else code(answer) == (403, "request.forbidden")


def test_a_job_without_a_transcript_says_so(phone: Phone) -> None:
    reader = Reader(phone, phone.create()["job"]["job_id"])
    for method, path, body in (("GET", "/sentences", None), ("PATCH", "/speakers/SPEAKER_00", {"name": "x"})):
        assert code(reader.ask(method, path, json=body)) == (409, "job.not_ready")


def test_a_deleted_job_takes_its_versions_with_it(cloud: LocalCloud, phone: Phone, job_id: str) -> None:
    assert Reader(phone, job_id).ask("PATCH", "/speakers/SPEAKER_00", json={"name": "x"}).status_code == 200
    assert phone.client.delete(f"/v1/jobs/{job_id}").status_code == 204
    bucket = cloud.settings.results_bucket
    wait_for(lambda: not [name for name in cloud.objects.names(bucket) if job_id in name])
