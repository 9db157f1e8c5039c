"""From a function for each request to the service that Modal's client calls: credentials, faults, and the rest."""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from grpclib import GRPCError, Status
from grpclib.server import Stream
from modal_proto.api_grpc import ModalClientBase

from tests.modal_server.state import State

TOKEN_ID, TOKEN_SECRET = "ak-loopback", "as-loopback-secret"


@dataclass(frozen=True)
class Request:
    """One request, and who makes it.

    Attributes:
        caller: The container whose process asks; ``None`` for a client.
        idempotency_key: The same for repetitions of one request.
    """

    state: State
    message: Any
    caller: Any
    idempotency_key: str


Handler = Callable[[Request], Awaitable[Any]]
StreamHandler = Callable[[Request], AsyncIterator[Any]]
HANDLERS: dict[str, Handler] = {}
STREAM_HANDLERS: dict[str, StreamHandler] = {}


def rpc(handler: Handler) -> Handler:
    """Answer the request of this function's name with what it returns."""
    HANDLERS[handler.__name__] = handler
    return handler


def stream_rpc(handler: StreamHandler) -> StreamHandler:
    """Answer the request of this function's name with what it yields."""
    STREAM_HANDLERS[handler.__name__] = handler
    return handler


class Fault(Enum):
    """What may go wrong with a request of a client."""

    UNAVAILABLE = "refused, and nothing was done"
    EXHAUSTED = "refused: the workspace is at a limit"
    SILENT = "never answered, and nothing was done"
    ANSWER_LOST = "done, and refused all the same"
    ANSWER_SILENT = "done, and never answered"


class Faults:
    """Faults that were ordered, by request; each happens once."""

    def __init__(self) -> None:
        self._ordered: dict[str, deque[Fault]] = defaultdict(deque)

    def order(self, name: str, fault: Fault, times: int = 1) -> None:
        """Let the next requests of a kind go wrong."""
        self._ordered[name].extend([fault] * times)

    def take(self, name: str) -> Fault | None:
        """What goes wrong with this one."""
        return self._ordered[name].popleft() if self._ordered[name] else None


def service(state: State, faults: Faults, caller: Any = None) -> ModalClientBase:
    """The service as one socket serves it: to clients, or to the process of one container."""

    async def serve(name: str, stream: Stream[Any, Any]) -> None:
        message = await stream.recv_message()
        if caller is None:
            _authenticate(stream)
            state.received.append((name, message))
        fault = faults.take(name) if caller is None else None
        await _before(fault)
        request = Request(state, message, caller, str((stream.metadata or {}).get("x-idempotency-key", "")))
        if name in STREAM_HANDLERS:
            async for answer in STREAM_HANDLERS[name](request):
                await stream.send_message(answer)
        elif name in HANDLERS:
            answer = await HANDLERS[name](request)
            await _after(fault)
            await stream.send_message(answer)
        else:
            state.unimplemented.append(name)
            raise GRPCError(Status.UNIMPLEMENTED, f"{name} is not implemented here")

    def method(name: str) -> Callable[..., Awaitable[None]]:
        return lambda _, stream: serve(name, stream)

    methods = {name: method(name) for name in ModalClientBase.__abstractmethods__}
    built: ModalClientBase = type("Service", (ModalClientBase,), methods)()
    return built


def _authenticate(stream: Stream[Any, Any]) -> None:
    metadata = stream.metadata or {}
    if (metadata.get("x-modal-token-id"), metadata.get("x-modal-token-secret")) != (TOKEN_ID, TOKEN_SECRET):
        raise GRPCError(Status.UNAUTHENTICATED, f"token {metadata.get('x-modal-token-id')} is not known")


async def _before(fault: Fault | None) -> None:
    if fault is Fault.UNAVAILABLE:
        raise GRPCError(Status.UNAVAILABLE, "ordered")
    if fault is Fault.EXHAUSTED:
        raise GRPCError(Status.RESOURCE_EXHAUSTED, "ordered")
    if fault is Fault.SILENT:
        await asyncio.Event().wait()


async def _after(fault: Fault | None) -> None:
    if fault is Fault.ANSWER_LOST:
        raise GRPCError(Status.UNAVAILABLE, "ordered")
    if fault is Fault.ANSWER_SILENT:
        await asyncio.Event().wait()
