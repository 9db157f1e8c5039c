"""Containers: processes of Modal's own runtime, each with a socket of its own, started when a call waits for one."""

import asyncio
import os
import re
import shlex
import sys
from pathlib import Path

import grpclib.server
from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2 as pb

from tests.modal_server.rpc import Faults, Request, rpc, service
from tests.modal_server.state import Call, Function, Result, State, new_id

_HEARTBEAT_S = 1.0
# What a process needs to run at all; nothing else of this one's environment reaches a container.
_PASSED_ON = ("HOME", "LANG", "PATH", "TMPDIR")
_ROOT = "/root/"
_ENV_LINE = re.compile(r"ENV (\w+)=(.*)", re.DOTALL)


def schedule(state: State, call: Call) -> None:
    """Let a call wait for a container, and start one if there may be one more."""
    call.function.waiting.append(call)
    _start_enough(state, call.function)


def _start_enough(state: State, function: Function) -> None:
    busy = sum(1 for container in function.containers if container.call is not None)
    allowed = function.definition.autoscaler_settings.max_containers or 1
    while len(function.containers) < min(allowed, busy + len(function.waiting)):
        container = Container(state, function)
        function.containers.append(container)
        container.running = asyncio.get_running_loop().create_task(container.run())
    for container in function.containers:
        container.woken.set()


async def end_all(state: State) -> None:
    """Kill every process, and wait until all are gone."""
    running = []
    for function in state.functions.values():
        function.waiting.clear()
        for container in function.containers:
            container.kill()
            running.append(container.running)
    await asyncio.gather(*running)


class Container:
    """One process, and the call that it works on."""

    running: "asyncio.Task[None]"

    def __init__(self, state: State, function: Function) -> None:
        self.id = new_id("ta")
        self.call: Call | None = None
        self.woken = asyncio.Event()
        self._state = state
        self._function = function
        self._process: asyncio.subprocess.Process | None = None
        self._canceled: list[str] = []
        self._has_canceled = asyncio.Event()
        self._has_worked = False
        self._deadline: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Start the process, and see it to its end."""
        folder = self._state.folder / "containers" / self.id
        self._mount(folder / "root")
        (folder / "arguments").write_bytes(self._arguments().SerializeToString())
        socket = self._state.sockets / self.id[-8:]
        server = grpclib.server.Server([service(self._state, Faults(), self)])
        await server.start(path=str(socket))
        with (folder / "log.txt").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "modal._container_entrypoint"),
                cwd=folder / "root",
                env=self._environment(folder, socket),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
            )
        try:
            status = await self._process.wait()
        finally:
            self.kill()
            server.close()
        self._ended(status)

    def kill(self) -> None:
        """End the process now."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def cancel(self, call: Call) -> None:
        """Tell the process to stop working on a call, if it does."""
        if self.call is call:
            self._canceled.append(call.input_id)
            self._has_canceled.set()

    async def heartbeat(self) -> pb.ContainerHeartbeatResponse:
        """Answer the process' sign of life: with what it is to cancel, as soon as there is something."""
        try:
            await asyncio.wait_for(self._has_canceled.wait(), 0.9 * _HEARTBEAT_S)
        except TimeoutError:
            return pb.ContainerHeartbeatResponse()
        self._has_canceled.clear()
        canceled, self._canceled = self._canceled, []
        return pb.ContainerHeartbeatResponse(cancel_input_event=pb.CancelInputEvent(input_ids=canceled))

    async def next_input(self) -> pb.FunctionGetInputsItem:
        """The next call, or the order to end once none has come for a while."""
        while True:
            while self._function.waiting:
                call = self._function.waiting.popleft()
                if call.result is None:
                    return self._take(call)
            self.woken.clear()
            try:
                await asyncio.wait_for(
                    self.woken.wait(), self._function.definition.autoscaler_settings.scaledown_window
                )
            except TimeoutError:
                return pb.FunctionGetInputsItem(kill_switch=True)

    def give(self, output: pb.FunctionPutOutputsItem) -> None:
        """Take the result of the call."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self.call is not None and self.call.input_id == output.input_id:
            self.call.finish(output.result, output.data_format)
        self.call = None

    def cannot_start(self, why: str) -> None:
        """Fail what waits, instead of starting containers for ever."""
        while self._function.waiting:
            self._function.waiting.popleft().finish(Result(status=Result.GENERIC_STATUS_INIT_FAILURE, exception=why))

    def _take(self, call: Call) -> pb.FunctionGetInputsItem:
        limit_s = float(self._function.definition.timeout_secs)
        if self._state.timeout_s is not None:
            limit_s = min(limit_s, self._state.timeout_s)
        self.call, call.started_at, self._has_worked = call, self._state.now(), True
        self._deadline = asyncio.get_running_loop().call_later(limit_s, self._time_is_up, call, limit_s)
        return pb.FunctionGetInputsItem(
            input_id=call.input_id,
            input=call.input,
            function_call_id=call.id,
            function_call_invocation_type=pb.FUNCTION_CALL_INVOCATION_TYPE_ASYNC,
        )

    def _time_is_up(self, call: Call, limit_s: float) -> None:
        if call.result is None:
            call.finish(Result(status=Result.GENERIC_STATUS_TIMEOUT, exception=f"hit its timeout of {limit_s:g} s"))
            self.kill()

    def _ended(self, status: int) -> None:
        self._function.containers.remove(self)
        if self._deadline is not None:
            self._deadline.cancel()
        if self.call is not None:
            failure = Result.GENERIC_STATUS_INTERNAL_FAILURE
            self.call.finish(Result(status=failure, exception=f"container exited with status {status}"))
        elif status != 0 and not self._has_worked:
            self.cannot_start(f"container exited with status {status}")
        _start_enough(self._state, self._function)

    def _mount(self, root: Path) -> None:
        root.mkdir(parents=True)
        for mount_id in self._function.definition.mount_ids:
            for file in self._state.mounts[mount_id]:
                place = root / file.filename.removeprefix(_ROOT)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.unlink(missing_ok=True)
                os.link(self._state.content(file.sha256_hex), place)

    def _arguments(self) -> pb.ContainerArguments:
        function, app = self._function, self._function.app
        layout = pb.AppLayout(function_ids=app.functions, class_ids=app.classes)
        for function_id in app.functions.values():
            metadata = self._state.functions[function_id].metadata
            layout.objects.append(pb.Object(object_id=function_id, function_handle_metadata=metadata))
        for class_id in app.classes.values():
            layout.objects.append(pb.Object(object_id=class_id, class_handle_metadata=pb.ClassHandleMetadata()))
        for dependency in function.definition.object_dependencies:
            layout.objects.append(_described(dependency.object_id))
        return pb.ContainerArguments(
            task_id=self.id,
            function_id=function.base_id,
            app_id=app.id,
            function_def=function.definition,
            serialized_params=function.serialized_params,
            environment_name=app.environment,
            app_layout=layout,
        )

    def _environment(self, folder: Path, socket: Path) -> dict[str, str]:
        own = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        return {
            **own,
            **self._mounted(image_environment(self._state, self._function.definition.image_id)),
            "PYTHONPATH": str(folder / "root"),
            "PYTHONUNBUFFERED": "1",
            "MODAL_SERVER_URL": f"unix://{socket}",
            "MODAL_IS_REMOTE": "1",
            "MODAL_TASK_ID": self.id,
            "MODAL_ENVIRONMENT": self._function.app.environment,
            "MODAL_CONTAINER_ARGUMENTS_PATH": str(folder / "arguments"),
            "MODAL_HEARTBEAT_INTERVAL": str(_HEARTBEAT_S),
        }

    def _mounted(self, values: dict[str, str]) -> dict[str, str]:
        """Values with a volume's folder in place of its mount path, which does not exist here."""
        folders = {
            mount.mount_path: str(self._state.volume_folder(self._state.volumes[mount.volume_id]))
            for mount in self._function.definition.volume_mounts
        }
        return {name: folders.get(value, value) for name, value in values.items()}


def image_environment(state: State, image_id: str) -> dict[str, str]:
    """What the ``ENV`` lines of an image and of those below it set."""
    if image_id not in state.images:
        return {}
    image = state.images[image_id]
    found: dict[str, str] = {}
    for base in image.base_images:
        found |= image_environment(state, base.image_id)
    for command in image.dockerfile_commands:
        if line := _ENV_LINE.fullmatch(command):
            found[line[1]] = "".join(shlex.split(line[2]))
    return found


def _described(object_id: str) -> pb.Object:
    """What a container is told of something that its function uses."""
    if object_id.startswith("vo-"):
        metadata = pb.VolumeMetadata(version=pb.VOLUME_FS_VERSION_V1)
        return pb.Object(object_id=object_id, volume_metadata=metadata)
    if object_id.startswith("mo-"):
        return pb.Object(object_id=object_id, mount_handle_metadata=pb.MountHandleMetadata())
    return pb.Object(object_id=object_id)


@rpc
async def ContainerHello(request: Request) -> Empty:
    return Empty()


@rpc
async def ContainerHeartbeat(request: Request) -> pb.ContainerHeartbeatResponse:
    container: Container = request.caller
    return await container.heartbeat()


@rpc
async def FunctionGetInputs(request: Request) -> pb.FunctionGetInputsResponse:
    container: Container = request.caller
    return pb.FunctionGetInputsResponse(inputs=[await container.next_input()])


@rpc
async def FunctionPutOutputs(request: Request) -> Empty:
    container: Container = request.caller
    for output in request.message.outputs:
        container.give(output)
    return Empty()


@rpc
async def TaskResult(request: Request) -> Empty:
    """The class could not be imported, or a hook that runs ahead of calls raised."""
    container: Container = request.caller
    container.cannot_start(request.message.result.exception)
    return Empty()
