"""The object store over HTTP: Cloud Storage's signed GET and PUT, and its resumable uploads.

Source of the resumable protocol: "Resumable uploads" of the Cloud Storage documentation (XML API). Unlike there,
every byte that arrives is kept, not multiples of 256 KiB only; a client that follows the protocol sees no
difference.
"""

import asyncio
import logging
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import quote
from xml.sax.saxutils import escape

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from infra.local.object_store import LocalObjectStore, UploadSession
from infra.local.signing import Signed, UrlSigner
from shared.errors import PipelineError
from shared.media import ObjectInfo, ObjectRef
from shared.ports import Clock

log = logging.getLogger(__name__)

_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)")
# A body that brings nothing for so long is given up; what arrived of a resumable upload is kept.
_IDLE_S = 60.0
# Our code -> status and code as Cloud Storage answers them.
_ANSWERS = {
    "request.unauthorized": (403, "AccessDenied"),
    "object.not_found": (404, "NoSuchKey"),
    "object.exists": (412, "PreconditionFailed"),
    "object.too_large": (400, "EntityTooLarge"),
    "object.invalid": (400, "InvalidArgument"),
}


def object_server(store: LocalObjectStore, signer: UrlSigner, clock: Clock) -> Starlette:
    """The ASGI app, to be mounted where the store's ``base_url`` points."""
    server = _ObjectServer(store, signer, clock)
    # Any origin: as with a real bucket, the signature in the URL is what allows a request.
    cors = Middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "HEAD", "PUT", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=["Location", "Range", "x-goog-generation", "x-goog-hash", "ETag"],
    )
    return Starlette(
        routes=[
            Route("/_session/{upload_id}", server.resume, methods=["PUT", "DELETE"]),
            Route("/{bucket}/{name:path}", server.download, methods=["GET", "HEAD"]),
            Route("/{bucket}/{name:path}", server.put, methods=["PUT"]),
            Route("/{bucket}/{name:path}", server.start_session, methods=["POST"]),
        ],
        middleware=[cors],
        exception_handlers={PipelineError: _refuse, OSError: _cannot_store},
    )


async def _refuse(_request: Request, error: Exception) -> Response:
    if not isinstance(error, PipelineError):
        raise error
    status, code = _ANSWERS.get(error.code, (error.http_status, error.code))
    detail = f"<Error><Code>{code}</Code><Message>{escape(error.message)}</Message></Error>"
    body = f"<?xml version='1.0' encoding='UTF-8'?>{detail}"
    # The connection stays open and what is left of the body is thrown away: a client that is closed on while it
    # sends sees a broken pipe and never the answer.
    return Response(body, status, media_type="application/xml")


async def _cannot_store(request: Request, error: Exception) -> Response:
    log.error(
        "an object could not be stored: %s", error
    )  # a full disk, most likely: the same request may succeed later
    return await _refuse(request, PipelineError("service.unavailable", "The object could not be stored."))


@dataclass(frozen=True)
class _ContentRange:
    """What a request brings: bytes from ``start`` to before ``stop``, of ``total``.

    ``start`` is ``None`` for a status query, ``stop`` where the body's end tells it, ``total`` while the client does
    not know it.
    """

    start: int | None
    stop: int | None
    total: int | None
    is_whole: bool = False


class _ObjectServer:
    def __init__(self, store: LocalObjectStore, signer: UrlSigner, clock: Clock) -> None:
        self._store = store
        self._signer = signer
        self._clock = clock
        # Requests that wait for bytes, by session: a newer request for the session ends them.
        self._waiting: dict[str, asyncio.Timeout] = {}
        self._session_locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def download(self, request: Request) -> Response:
        """Read an object, whole or a range of it."""
        self._check(request, "GET")
        # It is a number if it is there: the signature covers it.
        generation = request.query_params.get("generation")
        ref = _ref(request).model_copy(update={"generation": int(generation) if generation else None})
        info, path = self._store.stat(ref), self._store.path(ref)
        return FileResponse(path, media_type=info.content_type, headers=_describe(info))

    async def put(self, request: Request) -> Response:
        """Create an object from the body."""
        signed = self._check(request, "PUT")
        max_bytes = _max_bytes(request, signed)
        _check_length(request, max_bytes)
        path = self._store.new_file()
        try:
            async with asyncio.timeout(_IDLE_S) as waiting:
                with path.open("xb") as file:
                    await _receive(request, file, max_bytes, waiting=waiting)
            content_type = request.headers.get("content-type", "")
            info = await asyncio.to_thread(self._store.commit, _ref(request), path, content_type=content_type)
        except (ClientDisconnect, TimeoutError):  # before OSError, which a TimeoutError is too
            path.unlink(missing_ok=True)
            return Response(status_code=499)  # nobody reads this
        except (PipelineError, OSError):
            self._store.discard(path)
            raise
        return Response(status_code=200, headers=_describe(info))

    async def start_session(self, request: Request) -> Response:
        """Open a resumable upload; its address is in ``Location``."""
        signed = self._check(request, "POST")
        if "x-goog-resumable" not in signed.headers or request.headers["x-goog-resumable"] != "start":
            raise PipelineError("object.invalid", "Only resumable uploads are started by POST.")
        session = self._store.open_session(
            _ref(request),
            content_type=request.headers.get("content-type", ""),
            max_bytes=_max_bytes(request, signed),
            expires_at=signed.expires_at,
        )
        location = str(request.url.replace(path=f"{request.scope.get('root_path', '')}/_session/", query=""))
        return Response(status_code=201, headers={"location": location + quote(session.upload_id)})

    async def resume(self, request: Request) -> Response:
        """Take more bytes of a resumable upload, say how many there are, or cancel it."""
        upload_id = request.path_params["upload_id"]
        self._store.session(upload_id)  # so that no lock is made for what is no session
        # A client that lost its connection comes back while the old request still waits for bytes: that one yields.
        if (waiting := self._waiting.get(upload_id)) is not None:
            waiting.reschedule(asyncio.get_running_loop().time())
        async with self._session_locks[upload_id]:
            session = self._store.session(upload_id)
            if request.method == "DELETE":
                self._forget(session)
                return Response(status_code=499)
            if session.generation is not None:
                info = self._store.stat(session.ref)
                return Response(status_code=200, headers=_describe(info))
            return await self._append(request, session)

    async def _append(self, request: Request, session: UploadSession) -> Response:
        content_range = _content_range(request)
        have = session.path.stat().st_size
        if (content_range.total or 0) > session.max_bytes:
            raise PipelineError("object.too_large")
        if content_range.start is not None:
            if content_range.start > have:
                raise PipelineError("object.invalid", f"The next byte is {have}, not {content_range.start}.")
            try:
                await self._take(request, session, content_range, have)
            except (ClientDisconnect, TimeoutError):
                return Response(status_code=499)  # nobody reads this; what arrived is kept
            have = session.path.stat().st_size
        if not content_range.is_whole and (content_range.total is None or have < content_range.total):
            return Response(status_code=308, headers={"range": f"bytes=0-{have - 1}"} if have else {})
        try:
            info = await asyncio.to_thread(
                self._store.commit, session.ref, session.path, content_type=session.content_type, session=session
            )
        except PipelineError as error:
            if error.code == "object.exists":
                self._forget(session)
            raise
        self._session_locks.pop(session.upload_id, None)
        return Response(status_code=200, headers=_describe(info))

    async def _take(self, request: Request, session: UploadSession, content_range: _ContentRange, have: int) -> None:
        """Append what the body brings beyond what is there; of a body that brings too much, keep nothing."""
        room = session.max_bytes - have
        if content_range.stop is not None:
            room = min(room, max(0, content_range.stop - have))
        try:
            async with asyncio.timeout(_IDLE_S) as waiting:
                self._waiting[session.upload_id] = waiting
                with session.path.open("ab") as file:
                    skip = have - (content_range.start or 0)
                    await _receive(request, file, room, skip=skip, waiting=waiting)
        except PipelineError:
            os.truncate(session.path, have)
            raise
        finally:
            self._waiting.pop(session.upload_id, None)

    def _forget(self, session: UploadSession) -> None:
        self._store.cancel_session(session)
        self._session_locks.pop(session.upload_id, None)

    def _check(self, request: Request, method: str) -> Signed:
        path = request.scope["raw_path"].decode("ascii").split("?")[0]
        query = request.scope["query_string"].decode("latin-1")
        return self._signer.check(method, path, query, request.headers, self._clock.now())


def _ref(request: Request) -> ObjectRef:
    return ObjectRef(bucket=request.path_params["bucket"], name=request.path_params["name"])


def _max_bytes(request: Request, signed: Signed) -> int:
    """The upper bound of the signed size range, and the signed promise that nothing is overwritten."""
    required = {"x-goog-content-length-range", "x-goog-if-generation-match"}
    if not required.issubset(signed.headers) or request.headers["x-goog-if-generation-match"] != "0":
        raise PipelineError("request.unauthorized", f"An upload must be signed with {' and '.join(sorted(required))}.")
    return int(request.headers["x-goog-content-length-range"].split(",")[1])


def _check_length(request: Request, max_bytes: int) -> None:
    if int(request.headers.get("content-length", 0)) > max_bytes:
        raise PipelineError("object.too_large", f"An upload to this URL may have {max_bytes} bytes.")


def _content_range(request: Request) -> _ContentRange:
    header = request.headers.get("content-range")
    if header is None:
        return _ContentRange(0, None, None, is_whole=True)
    match = _CONTENT_RANGE.fullmatch(header)
    if match is None:
        raise PipelineError("object.invalid", "The Content-Range header is malformed.")
    start, end, total = (None if part in (None, "*") else int(part) for part in match.groups())
    if start is not None and end is not None and (end < start or (total is not None and end >= total)):
        raise PipelineError("object.invalid", "The Content-Range header contradicts itself.")
    return _ContentRange(start, None if end is None else end + 1, total)


async def _receive(
    request: Request, file: BinaryIO, max_bytes: int, *, skip: int = 0, waiting: asyncio.Timeout | None = None
) -> None:
    """Append the body to a file, without the first ``skip`` bytes, which are there already.

    Raises:
        PipelineError: ``object.too_large``.
    """
    room = max_bytes
    loop = asyncio.get_running_loop()
    async for piece in request.stream():
        if waiting is not None:
            waiting.reschedule(loop.time() + _IDLE_S)
        fresh = piece[skip:]
        skip = max(0, skip - len(piece))
        room -= len(fresh)
        if room < 0:
            raise PipelineError("object.too_large", "More bytes arrived than were announced or allowed.")
        file.write(fresh)


def _describe(info: ObjectInfo) -> dict[str, str]:
    return {
        "x-goog-generation": str(info.generation),
        "x-goog-hash": f"md5={info.md5}",
        "etag": f'"{info.md5}"',
    }
