"""Signed URLs of the local object server, after Cloud Storage's V4 signing with an HMAC key.

Source: "V4 signing process with HMAC keys" (canonical request, string to sign, derived key) of the Cloud Storage
documentation. The payload is not signed, as in all signed URLs there.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from shared.errors import PipelineError

_ALGORITHM = "GOOG4-HMAC-SHA256"
_SCOPE = "auto/storage/goog4_request"
_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class Signed:
    """What a signature covers."""

    headers: frozenset[str]
    expires_at: datetime


class UrlSigner:
    """Signs requests and checks them.

    Args:
        key: Secret of this local cloud.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        expires_s: float,
        now: datetime,
        parameters: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """The URL, signed with its parameters and every given header, good for ``expires_s`` seconds."""
        parts = urlsplit(url)
        signed = {"host": parts.netloc, **{name.lower(): value for name, value in headers.items()}}
        query = {
            **parameters,
            "X-Goog-Algorithm": _ALGORITHM,
            "X-Goog-Credential": f"earwitness/{now:%Y%m%d}/{_SCOPE}",
            "X-Goog-Date": now.strftime(_TIME),
            "X-Goog-Expires": str(round(expires_s)),
            "X-Goog-SignedHeaders": ";".join(sorted(signed)),
        }
        query["X-Goog-Signature"] = self._signature(method, parts.path, query, signed)
        return f"{parts.scheme}://{parts.netloc}{parts.path}?{_encode(query)}"

    def check(self, method: str, path: str, query_string: str, headers: Mapping[str, str], now: datetime) -> Signed:
        """Refuse a request that was not signed just so, or too long ago.

        Args:
            method: Of the request.
            path: As sent, still percent-encoded.
            query_string: As sent.
            headers: Of the request, names in lower case.
            now: The time.

        Raises:
            PipelineError: ``request.unauthorized``.
        """
        query = dict(parse_qsl(query_string, keep_blank_values=True))
        given = query.pop("X-Goog-Signature", "")
        names = query.get("X-Goog-SignedHeaders", "").split(";")
        if missing := [name for name in names if name and name not in headers]:
            raise PipelineError("request.unauthorized", f"The signed header {missing[0]} was not sent.")
        try:
            signed = {name: headers[name] for name in names}
            signed_at = datetime.strptime(query["X-Goog-Date"], _TIME).replace(tzinfo=UTC)
            expires_at = signed_at + timedelta(seconds=int(query["X-Goog-Expires"]))
        except (KeyError, ValueError, OverflowError) as error:
            raise PipelineError("request.unauthorized", "The URL carries no signature, or a broken one.") from error
        if not hmac.compare_digest(given.encode(), self._signature(method, path, query, signed).encode()):
            raise PipelineError("request.unauthorized", "The signature does not match this request.")
        if now >= expires_at:
            raise PipelineError("request.unauthorized", "The signed URL has expired.")
        return Signed(frozenset(names), expires_at)

    def _signature(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
        canonical_headers = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in sorted(headers))
        canonical = "\n".join(
            [method, path, _encode(query), canonical_headers, ";".join(sorted(headers)), "UNSIGNED-PAYLOAD"]
        )
        date = query.get("X-Goog-Date", "")
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = "\n".join([_ALGORITHM, date, f"{date[:8]}/{_SCOPE}", digest])
        key = b"GOOG4" + self._key
        for part in (date[:8], *_SCOPE.split("/")):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.new(key, text.encode(), "sha256").hexdigest()


def _encode(query: Mapping[str, str]) -> str:
    return urlencode(sorted(query.items()), quote_via=quote, safe="")
