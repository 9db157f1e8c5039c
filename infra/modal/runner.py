"""GPU stages on Modal: the classes that ``earwitness gpu deploy`` has deployed, called through Modal's client."""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import modal
import modal.exception

from infra.modal.connection import own_client, send_plain_data, within
from infra.modal.failures import translated
from infra.modal.results import call_state, outputs
from shared.ports import Call, CallState
from shared.requests import StageRequest
from shared.stages import STAGES, Stage
from shared.weights import DEFAULT_MODELS, find_model

T = TypeVar("T")
_STARTS_KEPT = 1000
# A courtesy to a server that does not answer, and part of what a caller waits for.
_HANG_UP_S = 1.0
_Attempt = tuple[str, str, int]


class ModalRunner:
    """Implements :class:`shared.ports.StageRunner` on Modal.

    Deployed classes are looked up once; after that each start is one request. Starts are known to this object alone:
    where the process dies between a start and its being recorded, the attempt is started a second time. Both calls
    then write the same artifacts, which exist once, and the report of whichever comes first counts.

    Args:
        environment: Modal environment; the profile's or the workspace's default one if left out.
        timeout_s: Limit of one request to Modal, connecting included.
        client: Modal's client; made from the process' environment and Modal's configuration if left out.
    """

    def __init__(
        self, *, environment: str | None = None, timeout_s: float = 4.0, client: modal.Client | None = None
    ) -> None:
        self._environment = environment
        self._timeout_s = timeout_s
        self._client = client
        self._is_own_client = client is None
        self._lock = threading.Lock()
        self._methods: dict[tuple[str, str], Any] = {}
        self._starts: OrderedDict[_Attempt, Future[str]] = OrderedDict()

    def start(self, request: StageRequest) -> str:
        """Spawn an attempt; one that was started here before gives the call of then.

        Raises:
            PipelineError: ``service.unavailable``, with why; ``model.unknown``. A request that is not answered
                in time may have started a call all the same, which then ends by itself.
        """
        attempt = (request.job_id, request.stage, request.attempt)
        with self._lock:
            start = self._starts.get(attempt)
            is_first = start is None
            if start is None:
                start = self._starts[attempt] = Future()
                while len(self._starts) > _STARTS_KEPT:
                    self._starts.popitem(last=False)
        if not is_first:
            return start.result()
        try:
            call_id = self._spawn(request)
        except BaseException as error:  # whatever it was, those who wait must hear of it
            with self._lock:
                self._starts.pop(attempt, None)
            start.set_exception(error)
            raise
        start.set_result(call_id)
        return call_id

    def poll(self, call_id: str) -> Call:
        """What became of a call, from whatever process."""
        if not _is_call(call_id):
            return Call(CallState.LOST)
        with translated():
            told = self._within_time(self._outputs(call_id))
        return Call(CallState.LOST) if told is None else call_state(told)

    def cancel(self, call_id: str) -> None:
        """Stop a call. Its container, and the model in it, stay warm."""
        if _is_call(call_id):
            with translated():
                self._within_time(self._cancel(call_id))

    def close(self) -> None:
        """Hang up. Calls go on without this process."""
        self._hang_up()

    def _spawn(self, request: StageRequest) -> str:
        stage = STAGES[request.stage]
        chosen = request.options.model if stage.name == "transcribe" else None
        model = find_model(chosen or DEFAULT_MODELS[stage.name], stage.name).alias
        send_plain_data()
        place = f" in environment '{self._environment}'" if self._environment else ""
        missing = f"App '{stage.app_name}' is not deployed on Modal{place}: run 'earwitness gpu deploy'."
        try:
            with translated(missing=missing):
                call = self._within_time(self._call(stage, model, request.model_dump(mode="json")))
        except BaseException:
            # It may have been deployed anew, under other ids: the next start looks again.
            self._methods.pop((stage.name, model), None)
            raise
        return str(call.object_id)

    async def _call(self, stage: Stage, model: str, request: dict[str, Any]) -> Any:
        run = self._methods.get((stage.name, model))
        if run is None:
            found = modal.Cls.from_name(
                stage.app_name, stage.class_name, environment_name=self._environment, client=await self._connected()
            )
            run = found(model=model).run
        call = await run.spawn.aio(request)
        self._methods[stage.name, model] = run
        return call

    async def _outputs(self, call_id: str) -> Any:
        try:
            return await outputs.aio(await self._connected(), call_id)
        except modal.exception.NotFoundError:
            return None

    async def _cancel(self, call_id: str) -> None:
        call: Any = modal.FunctionCall.from_id(call_id, client=await self._connected())
        with contextlib.suppress(modal.exception.NotFoundError):
            await call.cancel.aio()

    async def _connected(self) -> modal.Client:
        # Another thread may hang up at any moment: what is returned was looked at once.
        client = self._client
        if client is None:
            client = self._client = await own_client()
        return client

    def _within_time(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return within(self._timeout_s, work)
        except TimeoutError:
            # The connection may be dead and nobody have told, as when this process has slept: the client would find
            # out after 40 s. The next request connects anew.
            self._hang_up()
            raise

    def _hang_up(self) -> None:
        with self._lock:
            client = self._client if self._is_own_client else None
            if client is not None:
                self._client = None
                self._methods.clear()
        if client is not None:
            with contextlib.suppress(TimeoutError):
                within(min(_HANG_UP_S, self._timeout_s), client.close.aio())


def _is_call(call_id: str) -> bool:
    """Whether an id can be one of Modal's, and not a local runner's, say."""
    return call_id.startswith("fc-")
