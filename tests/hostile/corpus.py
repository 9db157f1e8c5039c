"""The corpus: every hostile file that a seed gives, and one number that says which corpus it is."""

import hashlib
from collections.abc import Iterable, Iterator
from random import Random

from tests.hostile import bombs, damage, disguises, lies
from tests.hostile.hostile import Bait, Hostile

_MAKERS = (damage.make, lies.make, bombs.make, disguises.make)


def corpus(seed: int, bait: Bait, *, scale: int = 1) -> Iterator[Hostile]:
    """Every hostile file; the same ones for the same seed.

    Args:
        seed: Of all chance.
        bait: What references point at.
        scale: Multiplies how many there are and how large bombs are.
    """
    for number, make in enumerate(_MAKERS):
        yield from make(Random(f"{seed} {number}"), bait, scale)


def digest(files: Iterable[Hostile]) -> str:
    """SHA-256 of a whole corpus."""
    seen = hashlib.sha256()
    for file in files:
        seen.update(f"{file.kind}/{file.name}/{len(file.content)}\n".encode() + file.content)
    return seen.hexdigest()
