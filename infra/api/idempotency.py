"""Every POST may carry an ``Idempotency-Key``: the same request with the same key is done once.

How to have it on a route: put ``@once()`` between the route and its function, and 409 among its statuses::

    @router.post("", status_code=201, responses=documented(409))
    @once()
    def create(body: CreateKey, caller: Annotated[Principal, MAY_WRITE]) -> CreatedKey: ...

The function may be async or not, and must have a parameter of type ``Principal`` (the caller). By then the caller is
known and the body is valid; what is refused before that is never kept. What the function answers is kept for 24 hours;
what it raises is not, so that the request can be made again. These are for special needs:

- ``@once(secret=True)`` where the answer holds a secret: it is kept sealed with the caller's token.
- ``@once(renewed=...)`` where a part of the answer ends sooner than the key: makes it anew at each repetition.
- ``@once(is_final=...)`` where an answer may be for now only: it is kept if this says so of it.
- a parameter ``claim: KeptAnswer | None = None`` gets what ids of new things are to be derived from
  (``claim.derived()``), so that a process that dies between making a thing and keeping the answer makes no second.
  Whoever takes longer than fifteen seconds needs that, too: from then on a repetition does not wait for the first.

After draft-ietf-httpapi-idempotency-key-header-07, but for two things: another request under a key is answered 409 and
not 422, and what was refused is not kept.
"""

import asyncio
import contextlib
import functools
import hashlib
import inspect
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from fastapi import Header, Request, Response
from fastapi.encoders import jsonable_encoder
from starlette.concurrency import run_in_threadpool

from infra.api.edge import ANSWER_HEADERS
from infra.api.sealing import seal, unseal
from infra.pipeline import repeats
from infra.wiring import Services, services
from shared.errors import PipelineError
from shared.keys import Principal
from shared.repeats import KeptAnswer

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

REPLAYED = "idempotency-replayed"
# So long a request waits for the answer to the first one with its key.
WAIT_S = 5.0
LEASE_S = 15.0
_OF_A_BODY = frozenset({"content-length", "content-type"})
# As the framework writes the answers that come first.
_AS_FIRST = (",", ":")
_FIRST_LOOK_S, _LAST_LOOK_S = 0.02, 0.5

Renewed = Callable[[Services, Any, Mapping[str, Any]], Any]
"""Given the services, a kept answer as JSON, and the arguments of the route's function: the answer as it is now."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,255}$",
        description="Yours, a UUID for example. The same request with the same key is done once; what it was answered"
        " is answered again for 24 hours, with `Idempotency-Replayed: true`.",
    ),
]


def once(
    *,
    secret: bool = False,
    renewed: Renewed | None = None,
    is_final: Callable[[Any], bool] = lambda _: True,
) -> Callable[[F], F]:
    """A decorator for the function of a POST route; the module says how to use it.

    Args:
        secret: Whether its answer holds a secret.
        renewed: Makes anew what has ended of a kept answer.
        is_final: Whether a result is what is answered from now on.
    """

    def decorated(endpoint: F) -> F:
        parameters = dict(inspect.signature(endpoint).parameters)
        wants_claim = parameters.pop("claim", None) is not None
        request_name = next((name for name, found in parameters.items() if found.annotation is Request), None)

        @functools.wraps(endpoint)
        async def repeatable(**values: Any) -> Any:
            key = values.pop("idempotency_key")
            request: Request = values[request_name] if request_name else values.pop("request")
            if key is None:
                return await _call(endpoint, values)
            kept = _Once(request, _unquoted(key), _tenant(values), secret)
            mine = await kept.claim()
            if mine.status is not None:
                return await kept.again(mine, renewed, values)
            if wants_claim:
                values["claim"] = mine
            return await kept.first(mine, is_final, endpoint, values)

        added = {"idempotency_key": IdempotencyKey, **({} if request_name else {"request": Request})}
        shown = [found.replace(kind=inspect.Parameter.KEYWORD_ONLY) for found in parameters.values()]
        for name, annotation in added.items():
            default = None if name == "idempotency_key" else inspect.Parameter.empty
            shown.append(
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            )
        signature = inspect.Signature(shown, return_annotation=inspect.signature(endpoint).return_annotation)
        repeatable.__signature__ = signature  # type: ignore[attr-defined]
        return repeatable  # type: ignore[return-value]

    return decorated


class _Once:
    """One request with a key."""

    def __init__(self, request: Request, key: str, tenant_id: str, secret: bool) -> None:
        self._request = request
        self._key = key
        self._tenant_id = tenant_id
        # Of the API key that the request came with; without one, the request's own key must do.
        token = request.headers.get("x-api-key") or request.headers.get("authorization") or ""
        is_checked_here = services().settings.api_access == "keys"
        self._seal = f"{token if is_checked_here else ''}\0{key}" if secret else None

    async def claim(self) -> KeptAnswer:
        """What is kept, or the right to make it; waits a while for another who is making it.

        Raises:
            PipelineError: ``idempotency.mismatch``, ``idempotency.in_progress``.
        """
        fingerprint = await _fingerprint(self._request)
        ends, pause_s = time.monotonic() + WAIT_S, _FIRST_LOOK_S
        while True:
            try:
                return await run_in_threadpool(
                    repeats.claim, services(), self._tenant_id, self._key, fingerprint, lease_s=LEASE_S
                )
            except PipelineError as error:
                if error.code == "idempotency.mismatch":
                    self._request.scope[ANSWER_HEADERS]["x-should-retry"] = "false"  # what OpenAI's client heeds
                if error.code != "idempotency.in_progress" or time.monotonic() >= ends:
                    raise
            # Not in a thread: those who wait would take all threads from the one they wait for.
            await asyncio.sleep(pause_s)
            pause_s = min(_LAST_LOOK_S, 1.5 * pause_s)

    async def first(
        self,
        mine: KeptAnswer,
        is_final: Callable[[Any], bool],
        endpoint: Callable[..., Any],
        values: Mapping[str, Any],
    ) -> Any:
        """Do it, and keep what comes of it."""
        before = dict(self._request.scope[ANSWER_HEADERS])
        try:
            result = await _call(endpoint, values)
        except PipelineError as error:
            # A refusal did nothing. What may succeed later may have done a part.
            await _tidy(repeats.give_up if error.retryable or error.http_status >= 500 else repeats.withdraw, mine)
            raise
        except BaseException:  # a defect, or a request that is broken off: who repeats it must not wait for the lease
            await _tidy(repeats.give_up, mine)
            raise
        is_streamed = isinstance(result, Response) and not isinstance(getattr(result, "body", None), bytes)
        if is_streamed or not is_final(result):
            await _tidy(repeats.give_up, mine)
            return result
        if isinstance(result, Response):
            status, media_type, body = result.status_code, result.media_type or "", bytes(result.body).decode()
        else:
            status, media_type = self._request.scope["route"].status_code or 200, "application/json"
            body = json.dumps(jsonable_encoder(result), ensure_ascii=False, separators=_AS_FIRST)
        if self._seal:
            body = seal(body, self._seal, mine.document_id)
        said = self._request.scope[ANSWER_HEADERS].items() - before.items()
        headers = {name: value for name, value in (*said, *_own_headers(result, values)) if name not in _OF_A_BODY}
        await _tidy(
            functools.partial(repeats.keep, status=status, media_type=media_type, body=body, headers=headers), mine
        )
        return result

    async def again(self, kept: KeptAnswer, renewed: Renewed | None, values: Mapping[str, Any]) -> Response:
        """What was answered the first time."""
        body: str | None = kept.body
        if self._seal:
            body = unseal(kept.body, self._seal, kept.document_id)
        if body is None:
            raise PipelineError("idempotency.mismatch", "This was answered to another API key, with a secret.")
        if renewed is not None:
            now = await run_in_threadpool(renewed, services(), json.loads(body), values)
            body = json.dumps(now, ensure_ascii=False, separators=_AS_FIRST)
        return Response(
            body, kept.status or 200, media_type=kept.media_type or None, headers={**kept.headers, REPLAYED: "true"}
        )


async def _call(endpoint: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    if inspect.iscoroutinefunction(endpoint):
        return await endpoint(**values)
    return await run_in_threadpool(endpoint, **values)


def _own_headers(result: Any, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Headers of the answer that the function has made, and of the one it was given to write into."""
    responses = [found for found in (result, *values.values()) if isinstance(found, Response)]
    return [pair for found in responses for pair in found.headers.items()]


async def _tidy(settle: Callable[[Services, KeptAnswer], None], mine: KeptAnswer) -> None:
    """Settle a claim. If that fails, what was done is answered all the same: the claim ends by itself."""
    try:
        await run_in_threadpool(settle, services(), mine)
    except PipelineError as error:
        log.warning("a repetition may be done again: %s", error)


async def _fingerprint(request: Request) -> str:
    """Of what is asked, however its JSON is written or its parts are separated."""
    body = await request.body()
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    if media_type.strip().startswith("multipart/"):
        boundary = parameters.partition("boundary=")[2].split(";")[0].strip().strip('"')
        body = body.replace(boundary.encode(), b"") if boundary else body
    elif body:
        with contextlib.suppress(ValueError):
            body = json.dumps(json.loads(body), sort_keys=True).encode()
    asked = f"{request.method} {request.url.path}?{request.url.query}\n"
    return hashlib.sha256(asked.encode() + body).hexdigest()


def _unquoted(key: str) -> str:
    """The draft's header is a quoted string; most clients send it bare."""
    return key[1:-1] if len(key) > 2 and key[0] == key[-1] == '"' else key


def _tenant(values: Mapping[str, Any]) -> str:
    return next(value.tenant_id for value in values.values() if isinstance(value, Principal))
