"""Changing a transcript: each change is a new version, with captions of its own and an event."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tenacity import Retrying, retry_if_result, stop_after_delay, wait_random

from infra.exports import render
from infra.pipeline.audit import OWNER, note
from infra.pipeline.outbox import publish_committed
from infra.pipeline.transcripts import FoundTranscript, find_completed, read_transcript, read_version
from infra.pipeline.versions import drop, find_version, keep, tolerated, write_version
from infra.wiring import Services
from shared import editing
from shared.advance import advance
from shared.editing import Edit
from shared.errors import PipelineError
from shared.events import TranscriptEdited, TranscriptVersion
from shared.jobs import Job
from shared.stages import Kind
from shared.transcript import Transcript
from shared.versions import VersionDraft

# For so long a change is made anew that does not say which version it is of, with pauses by chance in between.
_PATIENCE_S = 6.0
_PAUSE_S = 0.2


@dataclass(frozen=True)
class Editor:
    """Who changes which transcript.

    Attributes:
        tenant_id: Of the job, as far as the editor may know.
        actor: Id of the API key that is used.
        base: The version that the change is of; whichever is the current one if left out.
    """

    services: Services
    job_id: str
    tenant_id: str
    actor: str = OWNER
    base: int | None = None

    def name_speaker(self, speaker: str, name: str | None) -> TranscriptVersion:
        """Call a speaker by a name, or by none any more.

        Raises:
            PipelineError: As all changes: ``job.not_found``, ``job.not_ready``, ``job.no_transcript``,
                ``transcript.conflict``; ``transcript.no_such_speaker``.
        """
        summary = f"{speaker} got a name." if name else f"{speaker} lost its name."
        return self._change("speaker_named", summary, lambda before: editing.named(before, speaker, name))

    def merge_speakers(self, speakers: Sequence[str], into: str) -> TranscriptVersion:
        """Make several speakers one.

        Raises:
            PipelineError: As all changes; ``transcript.no_such_speaker``.
        """
        summary = f"{', '.join(dict.fromkeys(speakers))} became {into}."
        return self._change("speakers_merged", summary, lambda before: editing.merged(before, speakers, into))

    def edit(self, edits: Sequence[Edit]) -> TranscriptVersion:
        """Change texts, or who said what.

        Raises:
            PipelineError: As all changes; ``request.invalid``.
        """
        summary = f"{len(edits)} {'place was' if len(edits) == 1 else 'places were'} edited."
        return self._change("edited", summary, lambda before: editing.edited(before, edits))

    def restore(self, number: int) -> TranscriptVersion:
        """Make an earlier version the latest one again, as a version of its own.

        Raises:
            PipelineError: As all changes; ``transcript.no_such_version``.
        """
        old = read_transcript(self.services, self.job_id, self.tenant_id, version=number).transcript
        return self._change("restored", f"Version {number} was restored.", lambda _before: old)

    def _change(self, change: str, summary: str, changed: Callable[[Transcript], Transcript]) -> TranscriptVersion:
        """Make a version; made anew if someone else is faster, unless it was to be of a certain one."""
        tries = Retrying(
            stop=stop_after_delay(_PATIENCE_S if self.base is None else 0),
            wait=wait_random(0, _PAUSE_S),
            retry=retry_if_result(lambda made: made is None),
            retry_error_callback=lambda _: None,
        )
        version: TranscriptVersion | None = tries(self._tried, change, summary, changed)
        if version is None:
            raise PipelineError("transcript.conflict", "Someone else has changed the transcript: read it again.")
        return version

    def _tried(
        self, change: str, summary: str, changed: Callable[[Transcript], Transcript]
    ) -> TranscriptVersion | None:
        job = find_completed(self.services, self.job_id, self.tenant_id)
        before = read_version(self.services, job, find_version(self.services, job, None))
        if self.base not in (None, before.version.number):
            return None
        number = before.version.number + 1
        after = changed(before.transcript).model_copy(update={"version": number})
        if after == before.transcript.model_copy(update={"version": number}):
            return before.version
        return self._commit(before, after, change, summary)

    def _commit(
        self, before: FoundTranscript, after: Transcript, change: str, summary: str
    ) -> TranscriptVersion | None:
        """Make a version the current one; ``None`` if someone else was faster."""
        services, job = self.services, before.job
        keep(services, job)
        written = write_version(services, job, after.version, _files(before, after))
        version = TranscriptVersion(
            number=after.version,
            at=services.clock.now(),
            actor=self.actor,
            change=change,
            summary=summary,
            artifacts=written.artifacts,
        )
        fact = TranscriptEdited(version=version)
        # Whether it was committed is not known if this raises; then the draft stays, and is erased with the job.
        job = services.jobs.update(job.job_id, lambda job: advance(job, fact, services.clock.now())).job
        if job.transcript is None or job.transcript.artifacts != version.artifacts:
            with tolerated(job.job_id):
                drop(services, written.draft)
            return None
        self._settle(job, written.draft)
        return version

    def _settle(self, job: Job, draft: VersionDraft) -> None:
        """What follows from a version that is there; whatever is left undone here costs nothing but a little room."""
        with tolerated(job.job_id):
            publish_committed(self.services, job.job_id)
        with tolerated(job.job_id):
            note(self.services, job.tenant_id, self.actor, "transcript.edited", job.job_id)
        with tolerated(job.job_id):
            keep(self.services, job)
            self.services.documents.delete(VersionDraft, draft.document_id)


def _files(before: FoundTranscript, after: Transcript) -> dict[str, bytes]:
    """What a version consists of: the same kinds of files as the one before."""
    files = {"transcript.json": after.to_json().encode()}
    if any(artifact.kind is Kind.CAPTIONS for artifact in before.version.artifacts):
        for extension in ("srt", "vtt"):
            files[f"captions.{extension}"] = render(after, extension, before.options.captions).encode()
    return files
