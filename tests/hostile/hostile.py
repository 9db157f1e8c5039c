"""What a hostile file is, and what may become of it."""

from dataclasses import dataclass

ACCEPTED = "accepted"
UNSUPPORTED, CORRUPT, EMPTY = "media.unsupported", "media.corrupt", "media.empty"
NO_AUDIO, ZERO_LENGTH, TOO_LONG, ENCRYPTED = "media.no_audio", "media.zero_length", "media.too_long", "media.encrypted"
REFUSED = frozenset({UNSUPPORTED, CORRUPT, NO_AUDIO, ZERO_LENGTH, TOO_LONG, ENCRYPTED})
# Versions of FFmpeg differ in how much damage they forgive.
ANY = REFUSED | {ACCEPTED}


@dataclass(frozen=True)
class Bait:
    """What a hostile file tries to have opened: nobody may.

    Attributes:
        url: Of a server that counts its callers.
        path: Of a recording whose sample rate no other has.
    """

    url: str
    path: str


@dataclass(frozen=True)
class Hostile:
    """One hostile file.

    Attributes:
        kind: What it tries, for the table.
        name: Unique within its kind.
        content: The file.
        outcomes: What may be said of it: codes, or :data:`ACCEPTED`.
    """

    kind: str
    name: str
    content: bytes
    outcomes: frozenset[str] = ANY
