"""What was received: an object, its probe, and the rules that decide whether it is accepted."""

from shared.errors import PipelineError
from shared.model import Value


class ObjectRef(Value):
    """The name of one object; with a generation, of one immutable version of it."""

    bucket: str
    name: str
    generation: int | None = None

    @property
    def uri(self) -> str:
        """``bucket/name#generation``, the key under which finalize events are deduplicated."""
        return f"{self.bucket}/{self.name}" + (f"#{self.generation}" if self.generation is not None else "")


class ObjectInfo(ObjectRef):
    """An object as its store describes it.

    Attributes:
        md5: Base64 MD5 of the content, as Cloud Storage gives it.
    """

    size_bytes: int
    content_type: str = ""
    md5: str = ""


class Probe(Value):
    """What the content says it is, whatever its name.

    Attributes:
        container: FFmpeg's demuxer name, e.g. ``mov,mp4,m4a,3gp,3g2,mj2``.
        audio_codec: FFmpeg's codec name of the stream that is transcribed.
        duration_s: As declared or estimated; ``None`` where the format does not say. AMR and ADTS lie, so
            the length limit is checked again on decoded audio.
        sample_rate_hz: Of that stream.
        channels: Of that stream.
        has_video: Whether moving pictures are there too (cover art is not).
    """

    container: str
    audio_codec: str
    duration_s: float | None
    sample_rate_hz: int
    channels: int
    has_video: bool = False


class Media(Value):
    """The object in the uploads bucket that a job works on."""

    object: ObjectInfo
    filename: str = ""
    probe: Probe | None = None


class MediaLimits(Value):
    """What is accepted. Defaults: 5 GB and ten hours."""

    max_size_bytes: int = 5_000_000_000
    max_duration_s: float = 36_000.0


# FFmpeg demuxer name -> the declared types that agree with it. A type that is in none of these
# (application/octet-stream, nothing, a vendor's own) claims nothing that the content could contradict.
_DECLARED_TYPES: dict[str, frozenset[str]] = {
    "wav": frozenset({"audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"}),
    "mp3": frozenset({"audio/mpeg", "audio/mp3", "audio/x-mp3"}),
    "aac": frozenset({"audio/aac", "audio/aacp", "audio/x-aac"}),
    "ogg": frozenset({"audio/ogg", "audio/opus", "audio/vorbis", "application/ogg", "video/ogg"}),
    "flac": frozenset({"audio/flac", "audio/x-flac"}),
    "amr": frozenset({"audio/amr", "audio/amr-wb"}),
    "asf": frozenset({"audio/x-ms-wma", "video/x-ms-wmv", "video/x-ms-asf"}),
    "aiff": frozenset({"audio/aiff", "audio/x-aiff"}),
    "avi": frozenset({"video/avi", "video/x-msvideo", "video/msvideo"}),
    "matroska,webm": frozenset(
        {"audio/webm", "video/webm", "audio/x-matroska", "video/x-matroska", "audio/matroska", "video/matroska"}
    ),
    "mov,mp4,m4a,3gp,3g2,mj2": frozenset(
        {
            "audio/mp4", "video/mp4", "audio/m4a", "audio/x-m4a", "video/quicktime", "audio/quicktime",
            "audio/3gpp", "video/3gpp", "audio/3gpp2", "video/3gpp2", "audio/aac", "video/x-m4v",
        }
    ),
}  # fmt: skip

ACCEPTED_CONTAINERS = frozenset(_DECLARED_TYPES)
_KNOWN_TYPES = frozenset[str]().union(*_DECLARED_TYPES.values())
# Families that no recording belongs to: declaring one is a contradiction whatever the content.
_FOREIGN_FAMILIES = ("image/", "text/", "font/", "model/", "application/pdf", "application/zip", "application/json")


def check_size(size_bytes: int, limits: MediaLimits) -> None:
    """Refuse an empty or an oversized file.

    Raises:
        PipelineError: ``media.empty`` or ``media.too_large``.
    """
    if size_bytes == 0:
        raise PipelineError("media.empty", "The file is empty: nothing was recorded or the upload was cut off.")
    if size_bytes > limits.max_size_bytes:
        raise PipelineError(
            "media.too_large",
            f"The file has {size_bytes / 1e9:.2f} GB; the limit is {limits.max_size_bytes / 1e9:.2f} GB.",
            limit_bytes=limits.max_size_bytes,
            value_bytes=size_bytes,
        )


def check_duration(duration_s: float | None, limits: MediaLimits) -> None:
    """Refuse a recording over the limit; an unknown length passes and is checked again when decoded.

    Raises:
        PipelineError: ``media.too_long``.
    """
    if duration_s is not None and duration_s > limits.max_duration_s:
        raise PipelineError(
            "media.too_long",
            f"The recording is {_spoken(duration_s)} long; the limit is {_spoken(limits.max_duration_s)}.",
            limit_s=limits.max_duration_s,
            value_s=duration_s,
        )


def check_type(declared: str, container: str) -> None:
    """Refuse content that contradicts the type it was declared to be.

    Args:
        declared: The upload's Content-Type, with or without parameters.
        container: FFmpeg's demuxer name.

    Raises:
        PipelineError: ``media.unsupported`` for a container that is not accepted, ``media.type_mismatch``
            where both are known and disagree.
    """
    if container not in _DECLARED_TYPES:
        raise PipelineError("media.unsupported", f"Files of the kind '{container}' are not accepted.")
    kind = declared.split(";")[0].strip().lower()
    contradicts = kind in _KNOWN_TYPES and kind not in _DECLARED_TYPES[container]
    if contradicts or kind.startswith(_FOREIGN_FAMILIES):
        raise PipelineError(
            "media.type_mismatch",
            f"The file was sent as {kind} but its content is {container.split(',')[0]}. Send it with its own type.",
            declared=kind,
            container=container,
        )


def _spoken(duration_s: float) -> str:
    hours, rest = divmod(round(duration_s), 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [f"{hours} h" if hours else "", f"{minutes} min" if minutes else "", f"{seconds} s" if seconds else ""]
    return " ".join(part for part in parts if part) or "0 s"
