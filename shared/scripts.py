"""Writing systems, as far as they decide where a word ends."""

import re

# Written without spaces between words: Thai, Lao, Tibetan, Burmese, Khmer, Chinese and Japanese with their punctuation.
_UNSPACED = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\uff00-\uff9f"
UNSPACED = f"{_UNSPACED}\U00020000-\U0003ffff"
# Korean has spaces, but endings are written together with the word that someone looks for.
HANGUL = "\u1100-\u11ff\u3130-\u318f\uac00-\ud7ff"

_ONE = re.compile(f"[{UNSPACED}]")


def is_unspaced(text: str) -> bool:
    """Whether any of this is written in a script that has no spaces between words."""
    return _ONE.search(text) is not None
