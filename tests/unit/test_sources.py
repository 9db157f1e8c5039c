"""Recordings that are somewhere already: what may be named, what it is called, and what a failure means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.pipeline.intake import create_job
from infra.pipeline.sources import forget_url
from infra.wiring import GivenServices
from shared.advance import advance
from shared.errors import PipelineError
from shared.events import JobCanceled, SourceFailed, SourceOpened
from shared.jobs import JobState
from shared.media import ObjectRef
from shared.options import JobOptions
from shared.sources import (
    MAX_FILENAME_CHARACTERS,
    Source,
    content_type_of,
    failure_of,
    filename_of,
    may_be_read,
    may_pass,
    shown_url,
    source_object,
)
from tests.facts import RECEIVED, START, Story, created, error
from tests.machine.laws import check_commit

URL = "https://media.example.com/2026/a%20talk.m4a?key=secret#part"


def test_a_url_is_shown_without_what_may_be_secret() -> None:
    assert shown_url(URL) == "https://media.example.com/2026/a%20talk.m4a"
    assert shown_url("https://user:secret@example.com:8443/a") == "https://example.com:8443/a"


@pytest.mark.parametrize(
    ("url", "disposition", "expected"),
    [
        (URL, "", "a talk.m4a"),
        (URL, 'attachment; filename="team call.mp3"', "team call.mp3"),
        (URL, "attachment; filename*=UTF-8''%C3%9Cbung.wav; filename=x.wav", "Übung.wav"),
        (URL, 'inline; filename="Übung.wav"'.encode().decode("latin-1"), "Übung.wav"),
        (URL, 'attachment; filename="../../etc/passwd"', "passwd"),
        (URL, 'attachment; filename="C:\\\\calls\\\\a.wav"', "a.wav"),
        (URL, 'attachment; filename=".."', "a talk.m4a"),
        (URL, "attachment", "a talk.m4a"),
        (URL, "attachment; filename*=nonsense''%FF%FE", None),
        ("https://example.com/", "", ""),
        ("https://example.com/..%2F..%2Fa%00%0Ab.wav", "", "ab.wav"),
        ("https://example.com/x/%E2%80%AEgpj.wav", "", "gpj.wav"),
    ],
)
def test_a_recording_is_called_by_its_server_or_by_its_url(url: str, disposition: str, expected: str | None) -> None:
    name = filename_of(url, disposition)
    assert "/" not in name
    assert expected is None or name == expected


@given(st.text(), st.text(st.characters(max_codepoint=255)))
def test_no_name_is_a_path_or_hides_anything(path: str, disposition: str) -> None:
    name = filename_of(f"https://example.com/{path.replace('[', '').replace(']', '')}", disposition)
    assert len(name) <= MAX_FILENAME_CHARACTERS
    assert name.isprintable() and not set(name) & set("/\\") and not name.startswith(".")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("audio/mpeg", "audio/mpeg"),
        ("Video/MP4; codecs=avc1", "video/mp4"),
        ("binary/octet-stream", "application/octet-stream"),
        ("text/html; charset=utf-8", "application/octet-stream"),
        ("audio/x\r\nx-goog-acl: public", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_a_type_counts_if_it_is_one_of_recordings(header: str, expected: str) -> None:
    assert content_type_of(header) == expected


@pytest.mark.parametrize(
    "uri",
    ["gs://b/", "gs:///a", "s3://b/a", "gs://Bucket/a", "gs://bucket/a/../b", "gs://bucket/a//b", "bucket/a", "gs://b"],
)
def test_what_is_no_uri_of_an_object_is_refused(uri: str) -> None:
    with pytest.raises(PipelineError, match=r"request\.invalid"):
        source_object(uri)


@pytest.mark.parametrize(
    ("uri", "is_allowed"),
    [
        ("gs://archive/2026/a.wav", True),
        ("gs://others/a.wav", False),
        ("gs://archive2/a.wav", False),
        ("gs://uploads/inbox/acme/a.wav", True),
        ("gs://uploads/inbox/acme2/a.wav", False),
        ("gs://uploads/acme/job_1/media", False),
        ("gs://results/acme/job_1/words.json", False),
        ("gs://results/inbox/acme/a.wav", False),
    ],
)
def test_a_tenant_names_what_is_listed_for_it_and_its_inbox(uri: str, is_allowed: bool) -> None:
    ours = {"uploads_bucket": "uploads", "results_bucket": "results"}
    # Ours are nobody's, even if someone lists them.
    listed = {"acme": ["archive", "uploads", "results"], "other": ["others"]}
    assert may_be_read(source_object(uri), "acme", listed=listed, **ours) is is_allowed


@pytest.mark.parametrize(
    ("failure", "passes", "code"),
    [
        (PipelineError("outbound.failed", status=404), False, "source.not_found"),
        (PipelineError("outbound.failed", status=401), False, "source.not_found"),
        (PipelineError("outbound.failed", status=429), True, "source.unreachable"),
        (PipelineError("outbound.failed", status=500), True, "source.unreachable"),
        (PipelineError("outbound.failed"), True, "source.unreachable"),
        (PipelineError("outbound.refused"), False, "source.refused"),
        (PipelineError("media.too_large"), False, "media.too_large"),
    ],
)
def test_a_failure_passes_or_is_told_by_its_code(failure: PipelineError, passes: bool, code: str) -> None:
    assert may_pass(failure) is passes
    assert failure_of(failure).code == code


def test_a_job_is_named_by_what_is_fetched_unless_it_has_a_name() -> None:
    story = Story.begin()
    assert story.tell(SourceOpened(filename="other.wav")).job.filename == "talk.wav"
    unnamed = created().job.model_copy(update={"filename": "", "source": shown_url(URL)})
    step = advance(unnamed, SourceOpened(filename="a.wav"), START)
    check_commit(unnamed, step)
    assert (step.job.filename, step.events) == ("a.wav", ())
    assert advance(step.job, SourceOpened(filename="b.wav"), START).job is step.job


def test_what_cannot_be_fetched_ends_a_job_that_waits_for_it() -> None:
    failure = SourceFailed(error=error("source.not_found"))
    story = Story.begin()
    before, step = story.job, story.tell(failure)
    check_commit(before, step)
    assert (step.job.state, step.job.error) == (JobState.FAILED, failure.error)
    assert story.types == ["job.created", "job.failed"]
    for begun in (Story.begin(None, RECEIVED), Story.begin(None, JobCanceled()), Story.running(), story):
        assert begun.tell(failure).job is begun.job


def test_a_source_is_kept_before_its_job_and_its_url_nowhere_else(services: GivenServices) -> None:
    made = create_job(
        services, tenant_id="acme", content_type="", options=JobOptions(), source_url=URL.replace("https", "http")
    )
    assert made.upload is None
    assert made.job.source == "http://media.example.com/2026/a%20talk.m4a"
    kept = services.documents.get(Source, made.job.job_id)
    assert kept.url.endswith("?key=secret#part")
    assert kept.give_up_at < made.job.upload_expires_at
    assert "secret" not in made.job.to_json()
    (message,) = services.events.lease(10)  # type: ignore[attr-defined]
    assert b"secret" not in message.body
    forget_url(services, made.job.job_id)
    forget_url(services, made.job.job_id)


def test_an_object_is_read_as_it_was_when_the_job_was_made(services: GivenServices) -> None:
    there = ObjectRef(bucket=services.settings.uploads_bucket, name="inbox/acme/a.wav")
    stored = services.objects.write(there, b"RIFF", content_type="audio/wav")
    made = create_job(
        services,
        tenant_id="acme",
        content_type="",
        options=JobOptions(),
        source_uri=f"gs://{there.bucket}/{there.name}",
    )
    assert made.job.state is JobState.VALIDATING
    assert made.job.media and made.job.media.object == stored
    assert made.job.filename == "a.wav"
