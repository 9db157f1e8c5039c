"""Moving bytes over signed URLs: a download that resumes, and an upload that happens once."""

from collections.abc import Callable, Mapping
from typing import IO, Any

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from shared.errors import PipelineError
from shared.media import MediaLimits, ObjectInfo, check_size
from shared.requests import SignedRequest

TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_MAX_TRIES = 6
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 10.0
_RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


class TryAgain(Exception):
    """The other side is busy or the line broke; the same request may succeed."""


def patiently(*, max_tries: int = _MAX_TRIES, made_progress: Callable[[], bool] = lambda: False) -> Retrying:
    """Retry on a broken line and on answers that ask for it, waiting longer each time.

    Args:
        max_tries: Tries without progress.
        made_progress: Asked after each failure; progress starts the count again.
    """
    futile = 0

    def is_enough(_: RetryCallState) -> bool:
        nonlocal futile
        futile = 0 if made_progress() else futile + 1
        return futile >= max_tries

    return Retrying(
        retry=retry_if_exception_type((TryAgain, httpx.TransportError)),
        wait=wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S),
        stop=is_enough,
        reraise=True,
    )


def check_answer(response: httpx.Response) -> None:
    """Tell answers that ask for another try.

    Raises:
        TryAgain: Statuses that pass: 408, 425, 429 and 5xx.
    """
    if response.status_code in _RETRIED_STATUSES:
        raise TryAgain(f"status {response.status_code}")


def download(client: httpx.Client, url: str, target: IO[bytes], limits: MediaLimits) -> None:
    """Fetch an object into a file. A broken transfer goes on where it stopped, if the server can.

    Args:
        client: Whose connections are used.
        url: Signed GET URL.
        target: Writable binary file that can seek; left at its start.
        limits: The transfer ends as soon as it exceeds the size limit.

    Raises:
        PipelineError: ``object.not_found``; ``media.too_large`` or ``media.empty``; ``service.unavailable``.
    """
    transfer = _Download(client, url, target, limits)
    try:
        patiently(made_progress=transfer.made_progress)(transfer.fetch_rest)
    except (TryAgain, httpx.HTTPError) as error:
        raise PipelineError("service.unavailable", "The recording could not be downloaded.") from error
    check_size(transfer.size_bytes, limits)
    target.seek(0)


class _Download:
    def __init__(self, client: httpx.Client, url: str, target: IO[bytes], limits: MediaLimits) -> None:
        self._client = client
        self._url = url
        self._target = target
        self._limits = limits
        self._version = ""
        self._size_at_last_failure = 0
        self.size_bytes = 0

    def made_progress(self) -> bool:
        has_grown = self.size_bytes > self._size_at_last_failure
        self._size_at_last_failure = self.size_bytes
        return has_grown

    def fetch_rest(self) -> None:
        # Identity, because a range of a compressed body is not a range of the object.
        headers = {"Accept-Encoding": "identity"}
        if self.size_bytes:
            headers["Range"] = f"bytes={self.size_bytes}-"
            if self._version:
                headers["If-Range"] = self._version
        with self._client.stream("GET", self._url, headers=headers) as response:
            check_answer(response)
            if response.status_code == 416 and self._is_complete(response):
                return
            self._check_status(response)
            if not self._continues(response):
                self.size_bytes = 0
            self._version = _strong_version(response)
            self._target.seek(self.size_bytes)
            self._target.truncate()
            # Raw and as it comes: a buffer that fills up first would lose its content when the line breaks.
            for block in response.iter_raw():
                self._target.write(block)
                self.size_bytes += len(block)
                if self.size_bytes > self._limits.max_size_bytes:
                    check_size(self.size_bytes, self._limits)

    def _check_status(self, response: httpx.Response) -> None:
        if response.status_code == 404:
            raise PipelineError("object.not_found", "The recording is not in the store any more.")
        if response.status_code not in (200, 206):
            # An expired URL answers 403; the next attempt brings a fresh one.
            raise PipelineError("service.unavailable", "The recording could not be read.", status=response.status_code)

    def _continues(self, response: httpx.Response) -> bool:
        if response.status_code != 206:
            return False
        if response.headers.get("Content-Range", "").startswith(f"bytes {self.size_bytes}-"):
            return True
        raise PipelineError("service.unavailable", "The store answered with another range than it was asked for.")

    def _is_complete(self, response: httpx.Response) -> bool:
        return bool(response.headers.get("Content-Range", "") == f"bytes */{self.size_bytes}")


def _strong_version(response: httpx.Response) -> str:
    tag = response.headers.get("ETag", "")
    return "" if tag.startswith("W/") else tag


def upload(client: httpx.Client, request: SignedRequest, content: bytes) -> ObjectInfo:
    """Create an object, once.

    Args:
        client: Whose connections are used.
        request: Signed upload; all its headers are sent as they are.
        content: The whole object.

    Returns:
        What the store said of the object: name and bucket empty and generation ``None`` where it said nothing, as
        when the object was there already, from a try whose answer was lost or from an earlier attempt.

    Raises:
        PipelineError: ``service.unavailable``, or ``object.too_large``.
    """
    try:
        response = patiently()(_send, client, request, content)
    except (TryAgain, httpx.HTTPError) as error:
        raise PipelineError("service.unavailable", "A result could not be uploaded.") from error
    content_type = next((value for name, value in request.headers.items() if name.lower() == "content-type"), "")
    if response.status_code == 412:
        return ObjectInfo(bucket="", name="", size_bytes=len(content), content_type=content_type)
    if response.status_code == 413:
        raise PipelineError("object.too_large", "A result is larger than its signed limit.")
    if not response.is_success:
        raise PipelineError("service.unavailable", "The store refused a result.", status=response.status_code)
    said = _described(response)
    return ObjectInfo(
        bucket=str(said.get("bucket", "")),
        name=str(said.get("name", "")),
        generation=_number(response.headers.get("x-goog-generation", said.get("generation"))),
        size_bytes=len(content),
        content_type=content_type,
        md5=_md5(response.headers) or str(said.get("md5Hash", "")),
    )


def _send(client: httpx.Client, request: SignedRequest, content: bytes) -> httpx.Response:
    response = client.request(request.method, request.url, headers=request.headers, content=content)
    check_answer(response)
    return response


def _described(response: httpx.Response) -> Mapping[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _md5(headers: httpx.Headers) -> str:
    # `x-goog-hash: crc32c=n03x6A==,md5=Ojk9c3dhfxgoKVVHYwFbHQ==`, in one header or two.
    parts = [part.strip() for value in headers.get_list("x-goog-hash") for part in value.split(",")]
    return next((part.removeprefix("md5=") for part in parts if part.startswith("md5=")), "")


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
