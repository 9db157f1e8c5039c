"""API keys: who may do what of which tenant's."""

import hashlib
import hmac
import re
import zlib
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import ClassVar

from shared.documents import Document
from shared.errors import PipelineError
from shared.model import Value

# The tenant of the command line, and of callers that the platform in front lets through.
DEFAULT_TENANT = "default"
# What a key may be allowed, each with a sentence for the documentation.
SCOPES: Mapping[str, str] = MappingProxyType(
    {
        "jobs:read": "See jobs and follow them.",
        "jobs:write": "Create, cancel, retry and delete jobs.",
        "transcripts:read": "Read and search transcripts.",
        "transcripts:write": "Edit transcripts and name speakers.",
        "webhooks:read": "See webhook endpoints and their deliveries.",
        "webhooks:write": "Change webhook endpoints, and deliver again.",
        "keys:read": "See API keys.",
        "keys:write": "Create, rotate and revoke API keys.",
        "usage:read": "See what was used, and the audit log.",
    }
)
# What a key is allowed that nobody said anything else of: all but to make keys.
DEFAULT_SCOPES = tuple(scope for scope in SCOPES if not scope.startswith("keys:"))

# A tenant's name is a part of the names of its objects. The inbox has a place of its own among them.
_TENANT = re.compile(r"(?!inbox$)[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_TOKEN = re.compile(r"ew_([0-9a-f]{20})_([0-9A-Za-z_-]{43})([0-9a-f]{8})", re.ASCII)


class ApiKey(Document):
    """A key as it is kept: by its hash.

    Attributes:
        document_id: Is part of the token, so that a key that is seen somewhere can be found and revoked.
        name: Its owner's word for it.
        token_hash: SHA-256 of the token, in hex. The token holds 256 random bits, so that no slower hash is needed.
        previous_hash: Of the token before the last rotation, which is good until ``previous_until``.
        requests_per_minute: How often it may be used; the deployment's limit if left out.
        last_used_at: To within a few minutes.
    """

    collection: ClassVar[str] = "api_keys"
    name: str
    token_hash: str
    previous_hash: str = ""
    previous_until: datetime | None = None
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    requests_per_minute: int | None = None
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def prefix(self) -> str:
        """The part of the token that may be seen."""
        return token_prefix(self.document_id)


class Principal(Value):
    """Who is calling.

    Attributes:
        key_id: Of the key it came with; empty for the cloud's own calls and where the platform lets callers through.
    """

    tenant_id: str
    key_id: str = ""
    scopes: tuple[str, ...]
    requests_per_minute: int | None = None

    def check(self, *needed: str) -> None:
        """Refuse what is not allowed.

        Raises:
            PipelineError: ``request.forbidden``.
        """
        if missing := [scope for scope in needed if scope not in self.scopes]:
            raise PipelineError("request.forbidden", f"This key lacks the scope {missing[0]}.", scope=missing[0])


def is_tenant(text: str) -> bool:
    """Whether a tenant may be called so."""
    return _TENANT.fullmatch(text) is not None


def check_tenant(text: str) -> None:
    """Refuse what no tenant may be called: it could be taken for a part of another one's names.

    Raises:
        PipelineError: ``request.invalid``.
    """
    if not is_tenant(text):
        rule = "a tenant is called by up to 63 letters, digits, dots, hyphens and underscores, and not 'inbox'"
        raise PipelineError("request.invalid", f"tenant: {rule}.")


def token_prefix(key_id: str) -> str:
    """How the token of a key begins."""
    return f"ew_{key_id.removeprefix('key_')}"


def make_token(key_id: str, secret: str) -> str:
    """The token of a key: its id, a secret of 43 characters, and a checksum, by which typing mistakes cost no look-up.

    Args:
        key_id: ``key_`` and 20 hexadecimal digits.
        secret: URL-safe base64 of 32 random bytes.
    """
    body = f"{token_prefix(key_id)}_{secret}"
    return f"{body}{_checksum(body)}"


def read_token(token: str) -> str:
    """The id of the key that a token is of, if it is of one.

    Raises:
        PipelineError: ``request.unauthorized``.
    """
    if (found := _TOKEN.fullmatch(token)) is None or _checksum(token[: -len(found[3])]) != found[3]:
        raise PipelineError("request.unauthorized", "This is not an API key of Earwitness.")
    return f"key_{found[1]}"


def token_hash(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def check_token(key: ApiKey, token: str, now: datetime) -> Principal:
    """Whom a token stands for.

    Raises:
        PipelineError: ``request.unauthorized``.
    """
    given = token_hash(token)
    is_current = hmac.compare_digest(given, key.token_hash)
    is_previous = hmac.compare_digest(given, key.previous_hash) and key.previous_until is not None
    is_good = is_current or (is_previous and key.previous_until is not None and now < key.previous_until)
    if key.revoked_at is not None or not is_good:
        raise PipelineError("request.unauthorized", "This API key is not valid any more.")
    return Principal(
        tenant_id=key.tenant_id,
        key_id=key.document_id,
        scopes=key.scopes,
        requests_per_minute=key.requests_per_minute,
    )


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
