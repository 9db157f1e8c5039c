"""Versions of a transcript are made whole or not at all, by one editor at a time, and are gone with their job."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from infra.pipeline.audit import read_audit
from infra.pipeline.control import delete_job, erase
from infra.pipeline.dispatch import apply_fact, dispatch_due
from infra.pipeline.editing import Editor
from infra.pipeline.intake import create_job, receive_upload, upload_ref
from infra.pipeline.outbox import publish_committed
from infra.pipeline.reports import with_stored_artifacts
from infra.pipeline.sweep import sweep
from infra.pipeline.transcripts import find_completed, read_transcript
from infra.pipeline.versions import list_versions
from infra.wiring import GivenServices
from shared.advance import advance
from shared.editing import Edit
from shared.errors import PipelineError
from shared.events import StageCompleted, TranscriptEdited
from shared.jobs import JobState
from shared.media import ObjectRef
from shared.options import JobOptions
from shared.transcript import Recognition
from shared.versions import KeptVersion, VersionDraft
from tests.transcripts import said

HEARD = said("one two three", "four five six")


@pytest.fixture
def job_id(services: GivenServices) -> str:
    """A job of tenant ``t`` that has its transcript."""
    job = create_job(services, tenant_id="t", content_type="", options=JobOptions(diarize=False)).job
    receive_upload(services, services.objects.write(upload_ref(services, "t", job.job_id), b"RIFF", content_type=""))
    dispatch_due(services, job.job_id)
    words = Recognition(language="en", duration_s=HEARD.duration_s, segments=HEARD.segments)
    ref = ObjectRef(bucket=services.settings.results_bucket, name=f"t/{job.job_id}/words.json")
    services.objects.write(ref, words.to_json().encode(), content_type="application/json")
    report = StageCompleted(stage="transcribe", attempt=1)
    apply_fact(services, job.job_id, with_stored_artifacts(services, services.jobs.get(job.job_id), report))
    dispatch_due(services, job.job_id)
    assert services.jobs.get(job.job_id).state is JobState.COMPLETED
    return job.job_id


def editor(services: GivenServices, job_id: str, base: int | None = None) -> Editor:
    return Editor(services, job_id, "t", "key_1", base)


def edits(text: str) -> list[Edit]:
    return [Edit(segment=0, text=text)]


def results(services: GivenServices) -> list[str]:
    return sorted(services.objects.names(services.settings.results_bucket))


def told(services: GivenServices, job_id: str) -> list[int]:
    """The versions that events told of."""
    publish_committed(services, job_id)
    events = [event for event in services.jobs.history(job_id) if event.type == "transcript.edited"]
    assert len({event.id for event in events}) == len(events)
    return [event.data["version"]["number"] for event in events]


def code(call: Callable[[], object]) -> str:
    with pytest.raises(PipelineError) as error:
        call()
    return error.value.code


def test_a_change_is_a_version_with_captions_an_event_and_a_line_in_the_audit_log(
    services: GivenServices, job_id: str
) -> None:
    made = editor(services, job_id, 1).edit(edits("one too three"))
    assert (made.number, made.actor, made.change, made.summary) == (2, "key_1", "edited", "1 place was edited.")
    assert services.jobs.get(job_id).transcript == made
    found = read_transcript(services, job_id, "t")
    assert (found.transcript.version, found.transcript.text) == (2, "one too three four five six")
    assert [artifact.filename for artifact in made.artifacts] == [
        "transcript.v2.json",
        "captions.v2.srt",
        "captions.v2.vtt",
    ]
    assert b"one too three" in services.objects.read(made.artifacts[1].object)
    assert told(services, job_id) == [2]
    line = read_audit(services, "t", limit=1)[0]
    assert (line.actor, line.action, line.subject) == ("key_1", "transcript.edited", job_id)
    assert read_transcript(services, job_id, "t", version=1).transcript.text == "one two three four five six"
    assert services.documents.find(VersionDraft) == []


def test_what_changes_nothing_makes_no_version(services: GivenServices, job_id: str) -> None:
    assert editor(services, job_id).edit(edits("one two three")).number == 1
    assert editor(services, job_id).restore(1).number == 1
    assert told(services, job_id) == []


def test_an_older_version_is_restored_as_a_new_one(services: GivenServices, job_id: str) -> None:
    for text in ("1", "2", "3"):
        editor(services, job_id).edit(edits(text))
    restored = editor(services, job_id, 4).restore(2)
    assert (restored.number, restored.summary) == (5, "Version 2 was restored.")
    assert read_transcript(services, job_id, "t").transcript.text == "1 four five six"
    assert read_transcript(services, job_id, "t", version=4).transcript.text == "3 four five six"
    assert told(services, job_id) == [2, 3, 4, 5]
    for number in (0, 6, 100):
        assert code(lambda number=number: read_transcript(services, job_id, "t", version=number)) == (
            "transcript.no_such_version"
        )


def test_versions_are_listed_in_pages(services: GivenServices, job_id: str) -> None:
    job = find_completed(services, job_id)
    assert [version.number for version in list_versions(services, job, limit=3)] == [1]
    for text in "abcdef":
        editor(services, job_id).edit(edits(text))
    job = find_completed(services, job_id)
    for limit in range(1, 9):
        numbers: list[int] = []
        while page := list_versions(services, job, limit=limit, below=numbers[-1] if numbers else None):
            assert len(page) <= limit
            numbers += [version.number for version in page]
        assert numbers == [7, 6, 5, 4, 3, 2, 1]


def test_a_change_of_an_older_version_is_a_conflict(services: GivenServices, job_id: str) -> None:
    editor(services, job_id, 1).edit(edits("first"))
    before = results(services)
    assert code(lambda: editor(services, job_id, 1).edit(edits("second"))) == "transcript.conflict"
    assert code(lambda: editor(services, job_id, 3).restore(1)) == "transcript.conflict"
    assert results(services) == before and told(services, job_id) == [2]


class Meddled:
    """A port, before whose ``method`` something happens, once."""

    def __init__(self, port: Any, method: str, first: Callable[[], object]) -> None:
        self._port, self._method, self._first = port, method, first
        self._is_done = False

    def __getattr__(self, name: str) -> Any:
        if name == self._method and not self._is_done:
            self._is_done = True
            self._first()
        return getattr(self._port, name)


def test_of_two_editors_at_once_one_wins_and_nothing_of_the_other_is_left(services: GivenServices, job_id: str) -> None:
    for port, method in (("objects", "write"), ("jobs", "update")):
        base = services.jobs.get(job_id).transcript_version
        other = editor(services, job_id, base)
        meddled = Meddled(getattr(services, port), method, lambda other=other: other.edit(edits(f"other {other.base}")))
        slow = editor(dataclasses.replace(services, **{port: meddled}), job_id, base)
        assert code(lambda slow=slow: slow.edit(edits("slow"))) == "transcript.conflict"
        assert read_transcript(services, job_id).transcript.text.startswith(f"other {base}")
    assert told(services, job_id) == [2, 3]
    assert len(results(services)) == 4 + 2 * 3 and services.documents.find(VersionDraft) == []


def test_a_change_that_names_no_version_is_made_after_the_other(services: GivenServices, job_id: str) -> None:
    other = editor(services, job_id)
    meddled = Meddled(services.jobs, "update", lambda: other.edit([Edit(segment=0, speaker="SPEAKER_01")]))
    slow = editor(dataclasses.replace(services, jobs=meddled), job_id)
    assert slow.edit(edits("slow")).number == 3
    found = read_transcript(services, job_id).transcript
    assert (found.segments[0].text, found.segments[0].speaker) == (" slow", "SPEAKER_01")


def test_a_version_counts_once_in_its_order_and_only_where_a_job_is_completed(
    services: GivenServices, job_id: str
) -> None:
    made = editor(services, job_id).edit(edits("x"))
    job, now = services.jobs.get(job_id), services.clock.now()
    for number in (1, 2, 4):
        fact = TranscriptEdited(version=made.model_copy(update={"number": number}))
        assert advance(job, fact, now).job is job
    third = TranscriptEdited(version=made.model_copy(update={"number": 3}))
    step = advance(job, third, now)
    assert (step.job.transcript_version, step.job.revision) == (3, job.revision + 1)
    assert [event.type for event in step.events] == ["transcript.edited"]
    for state in set(JobState) - {JobState.COMPLETED}:
        other = job.model_copy(update={"state": state})
        assert advance(other, third, now).job is other


class Crash(BaseException):
    """A process dies."""


@dataclasses.dataclass
class Doom:
    """Lets the process die at its n-th effect: before it, or right after."""

    at: int
    after: bool
    count: int = 0

    def of(self, port: Any) -> Any:
        doom = self

        class Port:
            def __getattr__(self, name: str) -> Any:
                method = getattr(port, name)
                if name not in ("create", "update", "delete", "write", "publish", "mark_published"):
                    return method

                def effect(*arguments: Any, **named: Any) -> Any:
                    doom.count += 1
                    if doom.count == doom.at and not doom.after:
                        raise Crash
                    result = method(*arguments, **named)
                    if doom.count == doom.at:
                        raise Crash
                    return result

                return effect

        return Port()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_wherever_an_editor_dies_there_is_one_version_or_none_and_the_next_goes_on(
    services: GivenServices, job_id: str, after: bool
) -> None:
    crashes = 0
    while True:
        base = services.jobs.get(job_id).transcript_version or 0
        doom = Doom(crashes + 1, after)
        ports = {name: doom.of(getattr(services, name)) for name in ("jobs", "documents", "objects", "events")}
        try:
            editor(dataclasses.replace(services, **ports), job_id, base).edit(edits(f"text {base}"))
        except Crash:
            crashes += 1
        else:
            break
        found = read_transcript(services, job_id)
        assert found.version.number in (base, base + 1)
        if found.version.number > base:
            assert found.transcript.text.startswith(f"text {base} ")
        # Whoever comes next finds nothing in the way.
        assert editor(services, job_id).edit(edits(f"next {base}")).number == found.version.number + 1
    assert crashes >= 9
    job = services.jobs.get(job_id)
    last = job.transcript_version or 0
    assert told(services, job_id) == list(range(2, last + 1))
    assert [version.number for version in list_versions(services, job, limit=100)] == list(range(last, 0, -1))
    for number in range(1, last + 1):
        assert read_transcript(services, job_id, version=number).transcript.version == number
    delete_job(services, job_id)
    erase(services, services.jobs.get(job_id))
    assert results(services) == []
    assert services.documents.find(KeptVersion) == services.documents.find(VersionDraft) == []


def test_deleting_a_job_erases_its_versions_and_no_one_elses(services: GivenServices, job_id: str) -> None:
    editor(services, job_id).edit(edits("mine"))
    # Ids right beside its own, in the order of the store.
    kept = services.documents.get(KeptVersion, f"{job_id}.{2:08d}")
    neighbours = [f"{job_id[:-1]}.{2:08d}", f"{job_id}0.{2:08d}", f"{job_id}-.{2:08d}"]
    other = ObjectRef(bucket=services.settings.results_bucket, name="t/other/transcript.json")
    info = services.objects.write(other, b"{}", content_type="application/json")
    artifact = kept.version.artifacts[0].model_copy(update={"object": info})
    for document_id in neighbours:
        version = kept.version.model_copy(update={"artifacts": (artifact,)})
        services.documents.create(KeptVersion(document_id=document_id, tenant_id="t", version=version))
    delete_job(services, job_id)
    for _ in range(2):  # events come twice
        erase(services, services.jobs.get(job_id))
    assert results(services) == ["t/other/transcript.json"]
    assert {one.document_id for one in services.documents.find(KeptVersion)} == set(neighbours)
    assert code(lambda: editor(services, job_id).restore(1)) == "job.not_found"


def test_a_version_that_comes_too_late_for_its_job_is_none(services: GivenServices, job_id: str) -> None:
    meddled = Meddled(services.jobs, "update", lambda: delete_job(services, job_id))
    late = editor(dataclasses.replace(services, jobs=meddled), job_id)
    assert code(lambda: late.edit(edits("late"))) == "job.not_found"
    erase(services, services.jobs.get(job_id))
    assert results(services) == [] and services.documents.find(VersionDraft) == []


def test_a_service_that_is_away_leaves_the_transcript_as_it_was(services: GivenServices, job_id: str) -> None:
    def away() -> None:
        raise PipelineError("service.unavailable")

    before = results(services)
    for port, method in (("objects", "write"), ("documents", "create")):
        broken = dataclasses.replace(services, **{port: Meddled(getattr(services, port), method, away)})
        assert code(lambda broken=broken: editor(broken, job_id, 1).edit(edits("x"))) == "service.unavailable"
        assert results(services) == before and services.documents.find(VersionDraft) == []
    quiet = dataclasses.replace(services, events=Meddled(services.events, "publish", away))
    assert editor(quiet, job_id, 1).edit(edits("x")).number == 2  # its event waits in the outbox
    assert told(services, job_id) == [2]


def test_another_tenant_finds_nothing(services: GivenServices, job_id: str) -> None:
    stranger = Editor(services, job_id, "evil")
    for call in (
        lambda: stranger.edit(edits("x")),
        lambda: stranger.restore(1),
        lambda: stranger.name_speaker("SPEAKER_00", "x"),
        lambda: stranger.merge_speakers(["SPEAKER_00"], "SPEAKER_01"),
    ):
        assert code(call) == "job.not_found"


def test_a_correction_makes_a_job_no_younger(services: GivenServices, job_id: str) -> None:
    object.__setattr__(services, "settings", services.settings.model_copy(update={"retention_days": 30.0}))
    services.clock.pass_by(days=20)
    editor(services, job_id).edit(edits("x"))
    assert sweep(services).retired == 0
    services.clock.pass_by(days=10, seconds=1)
    assert sweep(services).retired == 1
