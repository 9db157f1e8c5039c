"""What ``modal deploy`` asks for: an app, its image, the files it mounts, its functions and classes."""

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.modal_server.rpc import Request, rpc
from tests.modal_server.state import ENVIRONMENT, App, Function, Result, handle_metadata, new_id

BUILDER_VERSION = "2025.06"


@rpc
async def ClientHello(request: Request) -> pb.ClientHelloResponse:
    return pb.ClientHelloResponse()


@rpc
async def EnvironmentGetOrCreate(request: Request) -> pb.EnvironmentGetOrCreateResponse:
    name = request.message.deployment_name or ENVIRONMENT
    settings = pb.EnvironmentSettings(image_builder_version=BUILDER_VERSION)
    return pb.EnvironmentGetOrCreateResponse(
        environment_id=f"en-{name}", metadata=pb.EnvironmentMetadata(name=name, settings=settings)
    )


@rpc
async def AppGetByDeploymentName(request: Request) -> pb.AppGetByDeploymentNameResponse:
    app = request.state.apps.get((request.message.environment_name or ENVIRONMENT, request.message.name))
    return pb.AppGetByDeploymentNameResponse(app_id=app.id if app else "")


@rpc
async def AppGetLayout(request: Request) -> pb.AppGetLayoutResponse:
    app = _app(request, request.message.app_id)
    return pb.AppGetLayoutResponse(app_layout=pb.AppLayout(function_ids=app.functions, class_ids=app.classes))


@rpc
async def AppCreate(request: Request) -> pb.AppCreateResponse:
    environment = request.message.environment_name or ENVIRONMENT
    # An app that is being deployed becomes visible by its name when it is published.
    app = App(new_id("ap"), environment, request.message.description)
    request.state.apps[environment, f"unpublished {app.id}"] = app
    return pb.AppCreateResponse(app_id=app.id, app_page_url=f"http://127.0.0.1/{app.id}")


@rpc
async def AppPublish(request: Request) -> pb.AppPublishResponse:
    app = _app(request, request.message.app_id)
    app.name = request.message.name
    app.functions, app.classes = dict(request.message.function_ids), dict(request.message.class_ids)
    request.state.apps.pop((app.environment, f"unpublished {app.id}"), None)
    request.state.apps[app.environment, app.name] = app
    return pb.AppPublishResponse(url=f"http://127.0.0.1/{app.id}", deployed_at=request.state.now())


@rpc
async def AppHeartbeat(request: Request) -> Empty:
    return Empty()


@rpc
async def AppClientDisconnect(request: Request) -> Empty:
    return Empty()


@rpc
async def ImageGetOrCreate(request: Request) -> pb.ImageGetOrCreateResponse:
    image_id = new_id("im")
    request.state.images[image_id] = request.message.image
    return pb.ImageGetOrCreateResponse(
        image_id=image_id,
        result=Result(status=Result.GENERIC_STATUS_SUCCESS),
        metadata=pb.ImageMetadata(image_builder_version=BUILDER_VERSION),
    )


@rpc
async def MountBatchedCheckExistence(request: Request) -> pb.MountBatchedCheckExistenceResponse:
    wanted = request.message.sha256_hex_hashes
    missing = [checksum for checksum in wanted if not request.state.content(checksum).exists()]
    return pb.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)


@rpc
async def MountPutFile(request: Request) -> pb.MountPutFileResponse:
    checksum, kind = request.message.sha256_hex, request.message.WhichOneof("data_oneof")
    if kind == "data_blob_id":
        request.state.keep(request.state.blob(request.message.data_blob_id), checksum)
    elif kind == "data":
        draft = request.state.blob(new_id("bl"))
        draft.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(request.message.data)
        request.state.keep(draft, checksum)
    return pb.MountPutFileResponse(exists=request.state.content(checksum).exists())


@rpc
async def MountGetOrCreate(request: Request) -> pb.MountGetOrCreateResponse:
    mount_id = new_id("mo")
    request.state.mounts[mount_id] = list(request.message.files)
    return pb.MountGetOrCreateResponse(mount_id=mount_id, handle_metadata=pb.MountHandleMetadata())


@rpc
async def FunctionPrecreate(request: Request) -> pb.FunctionPrecreateResponse:
    function_id = request.message.existing_function_id or new_id("fu")
    definition = pb.Function(
        function_name=request.message.function_name,
        function_type=request.message.function_type,
        method_definitions=request.message.method_definitions,
        supported_input_formats=request.message.supported_input_formats,
        supported_output_formats=request.message.supported_output_formats,
    )
    metadata = handle_metadata(definition, request.message.app_id, function_id)
    return pb.FunctionPrecreateResponse(function_id=function_id, handle_metadata=metadata)


@rpc
async def FunctionCreate(request: Request) -> pb.FunctionCreateResponse:
    definition = request.message.function
    function_id = request.message.existing_function_id or new_id("fu")
    function = Function(function_id, function_id, _app(request, request.message.app_id), definition)
    request.state.functions[function_id] = function
    # What was bound to the earlier definition is bound to this one from now on.
    for (base_id, _), bound_id in request.state.bound.items():
        if base_id == function_id:
            request.state.functions[bound_id].definition = definition
    return pb.FunctionCreateResponse(
        function_id=function_id,
        handle_metadata=function.metadata,
        function=definition,
        function_data=function_data(definition),
    )


@rpc
async def ClassCreate(request: Request) -> pb.ClassCreateResponse:
    class_id = request.message.existing_class_id or new_id("cs")
    return pb.ClassCreateResponse(class_id=class_id, handle_metadata=pb.ClassHandleMetadata())


def function_data(definition: pb.Function) -> pb.FunctionData:
    """A definition in the form from which the client describes it."""
    ranked = [pb.FunctionData.RankedFunction(rank=0, function=definition)]
    return pb.FunctionData(function_name=definition.function_name, ranked_functions=ranked)


def _app(request: Request, app_id: str) -> App:
    for app in request.state.apps.values():
        if app.id == app_id:
            return app
    raise GRPCError(Status.NOT_FOUND, f"no app {app_id}")
