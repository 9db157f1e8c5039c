"""What a client does with a deployed class: look it up, bind its parameters, spawn, poll and cancel."""

import asyncio
import contextlib

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.modal_server.containers import schedule
from tests.modal_server.deploying import function_data
from tests.modal_server.rpc import Request, rpc
from tests.modal_server.state import ENVIRONMENT, App, Call, Function, Result, new_id


@rpc
async def ClassGet(request: Request) -> pb.ClassGetResponse:
    app = _published(request)
    if request.message.object_tag not in app.classes:
        raise GRPCError(Status.NOT_FOUND, f"no class {request.message.object_tag}")
    class_id = app.classes[request.message.object_tag]
    return pb.ClassGetResponse(class_id=class_id, handle_metadata=pb.ClassHandleMetadata())


@rpc
async def FunctionGet(request: Request) -> pb.FunctionGetResponse:
    app = _published(request)
    if request.message.object_tag not in app.functions:
        raise GRPCError(Status.NOT_FOUND, f"no function {request.message.object_tag}")
    function = request.state.functions[app.functions[request.message.object_tag]]
    return pb.FunctionGetResponse(
        function_id=function.id, handle_metadata=function.metadata, function=function_data(function.definition)
    )


@rpc
async def FunctionBindParams(request: Request) -> pb.FunctionBindParamsResponse:
    base = _function(request)
    key = (base.id, request.message.serialized_params)
    if key not in request.state.bound:
        bound = Function(new_id("fu"), base.id, base.app, base.definition, request.message.serialized_params)
        request.state.functions[bound.id] = bound
        request.state.bound[key] = bound.id
    bound_id = request.state.bound[key]
    metadata = request.state.functions[bound_id].metadata
    return pb.FunctionBindParamsResponse(bound_function_id=bound_id, handle_metadata=metadata)


@rpc
async def FunctionMap(request: Request) -> pb.FunctionMapResponse:
    function = _function(request)
    (item,) = request.message.pipelined_inputs
    # Made of the key, so that a repeated request finds the call that the first one made.
    call_id, input_id = f"fc-{request.idempotency_key}", f"in-{request.idempotency_key}"
    if call_id not in request.state.calls:
        call = Call(call_id, input_id, function, item.input)
        request.state.calls[call_id] = call
        schedule(request.state, call)
    accepted = pb.FunctionPutInputsResponseItem(idx=item.idx, input_id=input_id, input_jwt=input_id)
    return pb.FunctionMapResponse(function_call_id=call_id, function_call_jwt=call_id, pipelined_inputs=[accepted])


@rpc
async def FunctionGetOutputs(request: Request) -> pb.FunctionGetOutputsResponse:
    call = _call(request)
    if call.result is None and request.message.timeout > 0:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(call.changed.wait(), request.message.timeout)
    if call.expired:
        return pb.FunctionGetOutputsResponse(num_unfinished_inputs=0)
    if call.result is None:
        return pb.FunctionGetOutputsResponse(num_unfinished_inputs=1)
    output = pb.FunctionGetOutputsItem(result=call.result, input_id=call.input_id, data_format=call.data_format)
    return pb.FunctionGetOutputsResponse(outputs=[output], num_unfinished_inputs=0)


@rpc
async def FunctionCallCancel(request: Request) -> Empty:
    call = _call(request)
    call.finish(Result(status=Result.GENERIC_STATUS_TERMINATED, exception="Input was cancelled by user"))
    for container in call.function.containers:
        container.cancel(call)
    return Empty()


def _published(request: Request) -> App:
    app = request.state.apps.get((request.message.environment_name or ENVIRONMENT, request.message.app_name))
    if app is None:
        raise GRPCError(Status.NOT_FOUND, f"no app {request.message.app_name}")
    return app


def _function(request: Request) -> Function:
    function = request.state.functions.get(request.message.function_id)
    if function is None:
        raise GRPCError(Status.NOT_FOUND, f"no function {request.message.function_id}")
    return function


def _call(request: Request) -> Call:
    call = request.state.calls.get(request.message.function_call_id)
    if call is None:
        raise GRPCError(Status.NOT_FOUND, f"no call {request.message.function_call_id}")
    return call
