"""What the server knows: apps, their functions, calls, volumes and files. Touched by its event loop alone."""

import asyncio
import hashlib
import secrets
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from modal_proto import api_pb2 as pb

if TYPE_CHECKING:
    from tests.modal_server.containers import Container

Result = pb.GenericResult
ENVIRONMENT = "main"


def new_id(prefix: str) -> str:
    """An id as Modal's client expects them: its prefix tells the kind of object."""
    return f"{prefix}-{secrets.token_hex(11)}"


@dataclass
class App:
    """An app, and what was last published of it."""

    id: str
    environment: str
    name: str
    functions: dict[str, str] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)


@dataclass
class Function:
    """A function as it was deployed, or a class' with its parameters bound.

    Attributes:
        base_id: Id of what was deployed.
        serialized_params: Values of the class' parameters, as the client sent them.
        waiting: Calls that no container has taken yet.
    """

    id: str
    base_id: str
    app: App
    definition: pb.Function
    serialized_params: bytes = b""
    waiting: deque["Call"] = field(default_factory=deque)
    containers: list["Container"] = field(default_factory=list)

    @property
    def metadata(self) -> pb.FunctionHandleMetadata:
        """What the client is told of it."""
        return handle_metadata(self.definition, self.app.id, self.base_id)


def handle_metadata(definition: pb.Function, app_id: str, function_id: str) -> pb.FunctionHandleMetadata:
    """What the client is told of a function, and of each method of a class."""

    def metadata(of: pb.Function | pb.MethodDefinition, **more: object) -> pb.FunctionHandleMetadata:
        return pb.FunctionHandleMetadata(
            app_id=app_id,
            function_name=of.function_name,
            function_type=of.function_type,
            definition_id=f"de-{function_id.removeprefix('fu-')}",
            supported_input_formats=of.supported_input_formats,
            supported_output_formats=of.supported_output_formats,
            **more,
        )

    return metadata(
        definition,
        class_parameter_info=definition.class_parameter_info,
        method_handle_metadata={
            name: metadata(method, is_method=True, use_method_name=name)
            for name, method in definition.method_definitions.items()
        },
    )


@dataclass
class Call:
    """One spawned call.

    Attributes:
        input: As the client sent it.
        result: Once it is over.
        expired: Whether the result was thrown away, as after a week.
    """

    id: str
    input_id: str
    function: Function
    input: pb.FunctionInput
    result: pb.GenericResult | None = None
    data_format: int = pb.DATA_FORMAT_UNSPECIFIED
    started_at: float = 0.0
    expired: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def finish(self, result: pb.GenericResult, data_format: int = pb.DATA_FORMAT_UNSPECIFIED) -> None:
        """End it, unless it has ended already."""
        if self.result is None:
            self.result, self.data_format = result, data_format
            self.changed.set()


@dataclass
class State:
    """Everything.

    Attributes:
        folder: Files of volumes, mounts and blobs, and what containers print.
        sockets: A folder whose path is short enough for sockets.
        blob_url: Where blobs are put and got.
        timeout_s: If set, a shorter time limit than deployed ones.
        received: Name and message of every request of a client, in order.
        unimplemented: Names of requests that were made and are not implemented.
    """

    folder: Path
    sockets: Path
    blob_url: str = ""
    timeout_s: float | None = None
    apps: dict[tuple[str, str], App] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    bound: dict[tuple[str, bytes], str] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)
    images: dict[str, pb.Image] = field(default_factory=dict)
    mounts: dict[str, list[pb.MountFile]] = field(default_factory=dict)
    volumes: dict[str, str] = field(default_factory=dict)
    received: list[tuple[str, object]] = field(default_factory=list)
    unimplemented: list[str] = field(default_factory=list)

    def volume_folder(self, name: str) -> Path:
        """Where a volume's files are."""
        return self.folder / "volumes" / name

    def content(self, sha256_hex: str) -> Path:
        """Where a file is kept by what it holds."""
        return self.folder / "content" / sha256_hex

    def blob(self, blob_id: str) -> Path:
        """Where a blob is kept."""
        return self.folder / "blobs" / blob_id

    def keep(self, file: Path, sha256_hex: str) -> None:
        """Move a file to where it is kept by what it holds."""
        with file.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != sha256_hex:
                raise ValueError("content does not have the checksum that came with it")
        self.content(sha256_hex).parent.mkdir(parents=True, exist_ok=True)
        file.replace(self.content(sha256_hex))

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()
