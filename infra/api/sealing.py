"""Keeping an answer that holds a secret so that only its caller can have it again.

The key is made of the caller's own API token, which is kept nowhere, and is used once: for one answer, with a random
nonce. So a keyed extendable-output function is a one-time pad; what it covers is authenticated by an HMAC.
"""

import base64
import hashlib
import hmac
import secrets

_NONCE_BYTES = 16
_TAG_BYTES = 32


def seal(text: str, secret: str, name: str) -> str:
    """A text that nobody can read without the secret.

    Args:
        text: What is kept.
        secret: Of 128 random bits or more.
        name: Where it is kept; it cannot be opened anywhere else.
    """
    nonce = secrets.token_bytes(_NONCE_BYTES)
    pad_key, tag_key = _keys(secret, name, nonce)
    covered = _covered(text.encode(), pad_key)
    return base64.b64encode(nonce + hmac.digest(tag_key, covered, hashlib.sha256) + covered).decode()


def unseal(sealed: str, secret: str, name: str) -> str | None:
    """What was sealed; ``None`` with another secret or for another name."""
    content = base64.b64decode(sealed)
    nonce, tag = content[:_NONCE_BYTES], content[_NONCE_BYTES : _NONCE_BYTES + _TAG_BYTES]
    covered = content[_NONCE_BYTES + _TAG_BYTES :]
    pad_key, tag_key = _keys(secret, name, nonce)
    if not hmac.compare_digest(tag, hmac.digest(tag_key, covered, hashlib.sha256)):
        return None
    return _covered(covered, pad_key).decode()


def _keys(secret: str, name: str, nonce: bytes) -> tuple[bytes, bytes]:
    keys = hmac.digest(secret.encode(), name.encode() + b"\0" + nonce, hashlib.sha512)
    return keys[:32], keys[32:]


def _covered(content: bytes, pad_key: bytes) -> bytes:
    pad = hashlib.shake_256(pad_key).digest(len(content))
    return bytes(a ^ b for a, b in zip(content, pad, strict=True))
