"""Objects in Cloud Storage."""

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from http.client import HTTPException
from types import MappingProxyType
from typing import Any

import google.auth
from google.api_core.exceptions import Conflict, NotFound, PreconditionFailed
from google.auth.credentials import Signing
from google.cloud.storage import Blob, Client
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError, ProxySchemeUnsupported

from infra.gcp.failures import translated
from infra.gcp.signing import SCOPES, emulator_credentials, signing_credentials
from infra.upload_protocol import upload_request
from shared.errors import PipelineError
from shared.media import ObjectInfo, ObjectRef
from shared.requests import SignedRequest

_SERVICE = "Cloud Storage"
# What the client's transport raises beyond Google's own exceptions. A transfer that arrived damaged is worth another,
# and a conflict is one of two requests for one object at the same time.
_UNAVAILABLE = (
    RequestException,
    HTTPError,
    HTTPException,
    ProxySchemeUnsupported,
    DataCorruption,
    InvalidResponse,
    Conflict,
)
CODES: Mapping[type[Exception], str] = MappingProxyType(dict.fromkeys(_UNAVAILABLE, "service.unavailable"))
# To connect, and between two reads; the retry below adds up tries, so that a dead endpoint is known in seconds.
_BOUNDED: Mapping[str, Any] = MappingProxyType(
    {
        "timeout": (2.0, 5.0),
        "retry": DEFAULT_RETRY.with_delay(initial=0.2, maximum=1.0, multiplier=2.0).with_timeout(4.0),
    }
)
_WRITE_ID = "earwitness-write"


def connect(project: str) -> "CloudObjectStore":
    """The store of a project, with the credentials of this process, or of ``STORAGE_EMULATOR_HOST``.

    Raises:
        PipelineError: ``service.unavailable`` when there are no credentials, or none that could sign.
    """
    with translated(_SERVICE, CODES):
        if os.environ.get("STORAGE_EMULATOR_HOST"):
            return CloudObjectStore(Client(project=project), emulator_credentials())
        credentials, _ = google.auth.default(scopes=SCOPES)
        return CloudObjectStore(Client(project=project, credentials=credentials), signing_credentials(credentials))


class CloudObjectStore:
    """Implements :class:`shared.ports.ObjectStore`. URLs are V4 signed, for the endpoint that the client talks to.

    Args:
        client: Of Cloud Storage.
        signing: Signs URLs.
    """

    def __init__(self, client: Client, signing: Signing) -> None:
        self._client = client
        self._signing = signing

    def sign_upload(
        self, ref: ObjectRef, *, content_type: str, max_bytes: int, expires_s: float, resumable: bool = False
    ) -> SignedRequest:
        """A signed ``PUT``, or the signed ``POST`` that opens a resumable session."""
        method, headers = upload_request(content_type, max_bytes, resumable=resumable)
        url = self._sign(ref.bucket, ref.name, method, expires_s, headers=dict(headers))  # the library adds to its copy
        return SignedRequest(method=method, url=url, headers=headers)

    def sign_download(self, ref: ObjectRef, *, expires_s: float) -> str:
        """A signed ``GET`` (and ``HEAD``); of one generation, if one is given, and of no later one."""
        return self._sign(ref.bucket, ref.name, "GET", expires_s, generation=ref.generation)

    def stat(self, ref: ObjectRef) -> ObjectInfo:
        """The object's description."""
        blob = self._blob(ref)
        with translated(_SERVICE, {**CODES, NotFound: "object.not_found"}):
            blob.reload(**_BOUNDED)
            return _info(blob)

    def read(self, ref: ObjectRef) -> bytes:
        """The whole content, checked against its checksum."""
        with translated(_SERVICE, {**CODES, NotFound: "object.not_found"}):
            content: bytes = self._blob(ref).download_as_bytes(**_BOUNDED)
            return content

    def write(self, ref: ObjectRef, content: bytes, *, content_type: str) -> ObjectInfo:
        """Create the object.

        An answer may get lost after the object was made; the client's next try then finds it there. So each write
        leaves a number of its own in the object's metadata, by which it knows its object from someone else's. A second
        call with the same content is another write, and gets ``object.exists``.
        """
        blob = self._blob(ObjectRef(bucket=ref.bucket, name=ref.name))
        write_id = secrets.token_hex(16)
        blob.metadata = {_WRITE_ID: write_id}
        with translated(_SERVICE, CODES):
            try:
                blob.upload_from_string(content, content_type=content_type, if_generation_match=0, **_BOUNDED)
            except PreconditionFailed as error:
                blob.reload(**_BOUNDED)
                if (blob.metadata or {}).get(_WRITE_ID) != write_id:
                    raise PipelineError("object.exists", name=ref.name) from error
            return _info(blob)

    def delete(self, ref: ObjectRef) -> None:
        """Remove the object; with a generation, only while it is that one."""
        with translated(_SERVICE, CODES), suppress(NotFound):
            self._blob(ref).delete(**_BOUNDED)

    def _blob(self, ref: ObjectRef) -> Blob:
        return self._client.bucket(ref.bucket).blob(ref.name, generation=ref.generation)

    def _sign(self, bucket: str, name: str, method: str, expires_s: float, **options: Any) -> str:
        with translated(_SERVICE, CODES):
            url: str = (
                self._client.bucket(bucket)
                .blob(name)
                .generate_signed_url(
                    version="v4",
                    method=method,
                    expiration=timedelta(seconds=expires_s),
                    credentials=self._signing,
                    **options,
                )
            )
            return url


def _info(blob: Blob) -> ObjectInfo:
    return ObjectInfo(
        bucket=blob.bucket.name,
        name=blob.name,
        generation=int(blob.generation),
        size_bytes=int(blob.size),
        content_type=blob.content_type or "",
        md5=blob.md5_hash or "",
    )
