"""Recordings that are somewhere already: behind a URL, or in a bucket."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.message import Message
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from shared.documents import Document
from shared.errors import PipelineError
from shared.jobs import Job, JobState
from shared.media import ObjectRef

# Recordings below this folder of the uploads bucket, then a tenant's, need no job first: one is made for each.
INBOX = "inbox"
MAX_FILENAME_CHARACTERS = 255
# Refusals that may pass, beside every status of 500 and more: too slow, too early, too often.
_PASSING = (408, 425, 429)
_MEDIA_TYPE = re.compile(r"(audio|video)/[a-z0-9.+-]{1,100}")
_PLAIN_NAME = re.compile(r';\s*filename\s*=\s*("[^"]*"|[^;]*)', re.IGNORECASE)
_ANY_TYPE = "application/octet-stream"


class Source(Document):
    """Where a job's recording is fetched from: the whole URL, which may hold a secret, so that no one is shown it.

    Attributes:
        document_id: Of the job.
        url: As it was given.
        give_up_at: From then on a failure is not tried again.
    """

    collection: ClassVar[str] = "sources"
    url: str
    give_up_at: datetime


def shown_url(url: str) -> str:
    """What may be shown of a source's URL: neither its query nor its fragment, where secrets are."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def origin_of(url: str) -> str:
    """Whom a URL leads to, which may be shown; its path and its query may hold secrets."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def source_object(uri: str) -> ObjectRef:
    """The object that ``gs://BUCKET/NAME`` names.

    Raises:
        PipelineError: ``request.invalid``.
    """
    match = re.fullmatch(r"gs://([a-z0-9][a-z0-9._-]{1,220})/(.+)", uri, re.DOTALL)
    if match is None or not {"", ".", ".."}.isdisjoint(match[2].split("/")):
        raise PipelineError("request.invalid", "source_uri: an object is named as gs://BUCKET/NAME.")
    return ObjectRef(bucket=match[1], name=match[2])


def is_in_inbox(ref: ObjectRef, tenant_id: str, uploads_bucket: str) -> bool:
    """Whether an object was put into a tenant's inbox."""
    return ref.bucket == uploads_bucket and ref.name.startswith(f"{INBOX}/{tenant_id}/")


def may_be_read(
    ref: ObjectRef, tenant_id: str, *, listed: Mapping[str, Sequence[str]], uploads_bucket: str, results_bucket: str
) -> bool:
    """Whether a tenant may have an object transcribed: one of its inbox, or of a bucket that is listed for it.

    Args:
        ref: The object.
        tenant_id: Whose job it would be.
        listed: Buckets by tenant.
        uploads_bucket: Ours, of all tenants: never anyone's as a whole.
        results_bucket: Likewise.
    """
    if ref.bucket in (uploads_bucket, results_bucket):
        return is_in_inbox(ref, tenant_id, uploads_bucket)
    return ref.bucket in listed.get(tenant_id, ())


def content_type_of(header: str) -> str:
    """The type of a recording as a server says it; servers that say something else say nothing of it."""
    kind = header.partition(";")[0].strip().lower()
    return kind if _MEDIA_TYPE.fullmatch(kind) else _ANY_TYPE


def filename_of(url: str, disposition: str) -> str:
    """What a recording is called: by its server (``Content-Disposition``, RFC 6266), or else by the end of its URL.

    Either is anyone's text: of a path only the last part is taken, and nothing that cannot be seen.
    """
    named = ""
    if disposition:
        if "filename*" in disposition.lower():  # it counts more than the plain one, which older readers understand
            disposition = _PLAIN_NAME.sub("", disposition)
        message = Message()
        try:  # as browsers do: bytes that are UTF-8 are meant as that
            message["content-disposition"] = disposition.encode("latin-1").decode()
        except (UnicodeError, ValueError):
            message["content-disposition"] = disposition.encode("ascii", "replace").decode()
        named = message.get_filename() or ""
    return _clean(named) or _clean(unquote(urlsplit(url).path))


def may_pass(error: PipelineError) -> bool:
    """Whether fetching may succeed a little later, after it failed like this."""
    status = error.details.get("status")
    if error.code != "outbound.failed":
        return error.retryable
    return status is None or status >= 500 or status in _PASSING


def failure_of(error: PipelineError) -> PipelineError:
    """Why a job whose recording could not be fetched has failed, in the words of this system."""
    if error.code == "outbound.refused":
        return PipelineError("source.refused", error.message)
    if error.code == "outbound.failed" and not may_pass(error):
        return PipelineError("source.not_found", error.message)
    if error.code == "media.too_large":
        return PipelineError("media.too_large", "What is at the URL is larger than the limit.", **error.details)
    return PipelineError("source.unreachable", error.message)


def named(job: Job, filename: str) -> Job | None:
    """The job with the name of what is being fetched for it, unless it has one."""
    if job.state is not JobState.AWAITING_UPLOAD or job.filename or not filename:
        return None
    return job.model_copy(update={"filename": filename})


def _clean(name: str) -> str:
    last = re.split(r"[/\\]", name)[-1]
    seen = "".join(letter for letter in last if unicodedata.category(letter)[0] not in "CZ" or letter == " ")
    return seen.strip(" .")[-MAX_FILENAME_CHARACTERS:]
