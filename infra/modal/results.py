"""What became of a call, told from the server's own message, so that no answer is ever loaded as a pickle.

``FunctionCall.get`` loads whatever format an answer says it has. A container whose decoder was taken over by a hostile
recording could so run code in the function that polls, which holds the cloud's credentials. So the message is asked for
below that, with the client's connection, and anything but CBOR is refused. It also tells a canceled call from a
crashed one, which the exceptions of ``get`` do not.
"""

import time
from typing import TYPE_CHECKING, Any

import cbor2
from modal._utils.async_utils import synchronize_api
from modal_proto import api_pb2 as pb

from infra.answers import answered_call
from shared.errors import PipelineError
from shared.ports import Call, CallState

if TYPE_CHECKING:
    from modal.client import _Client

_STATUSES = pb.GenericResult
# Never ``gpu.out_of_memory``: an accelerator's is an exception, which the job itself reports. What Modal ends is a
# container that took too much of the machine's memory.
_FAILURES = {
    _STATUSES.GENERIC_STATUS_TERMINATED: ("stage.lost", "The attempt was canceled."),
    _STATUSES.GENERIC_STATUS_TIMEOUT: ("stage.timeout", None),
    _STATUSES.GENERIC_STATUS_IDLE_TIMEOUT: ("stage.timeout", None),
    _STATUSES.GENERIC_STATUS_INIT_FAILURE: ("stage.crashed", "The container that was to run a stage did not start."),
    _STATUSES.GENERIC_STATUS_KERNEL_OOM_KILL: ("stage.crashed", "The container of a stage ran out of memory."),
}


async def _outputs(client: "_Client", call_id: str) -> pb.FunctionGetOutputsResponse:
    """The server's message about a call, as it is now."""
    request = pb.FunctionGetOutputsRequest(
        function_call_id=call_id, timeout=0, last_entry_id="0-0", requested_at=time.time(), start_idx=0, end_idx=0
    )
    return await client._stub.FunctionGetOutputs(request)


# The client's connections belong to a thread of its own; this takes a function there, as everything public is.
outputs: Any = synchronize_api(_outputs)  # type: ignore[no-untyped-call]


def call_state(told: pb.FunctionGetOutputsResponse) -> Call:
    """The state of a call, from the server's message about it."""
    if not told.outputs:
        # Neither a result nor anything to wait for: it is longer ago than the week for which results are kept.
        return Call(CallState.RUNNING if told.num_unfinished_inputs else CallState.LOST)
    output = told.outputs[0]
    if output.result.status == _STATUSES.GENERIC_STATUS_SUCCESS:
        return _answered(output)
    code, message = _FAILURES.get(output.result.status, ("stage.crashed", None))
    return Call(CallState.FAILED, PipelineError(code, message).info)


def _answered(output: pb.FunctionGetOutputsItem) -> Call:
    if output.result.WhichOneof("data_oneof") == "data_blob_id":
        return Call(CallState.SUCCEEDED)  # an answer that is too long to be worth fetching: all but the report is there
    try:
        if output.data_format != pb.DATA_FORMAT_CBOR:
            raise ValueError("not plain data")
        return answered_call(cbor2.loads(output.result.data))
    except (cbor2.CBORDecodeError, ValueError):
        error = PipelineError("stage.crashed", "The attempt's answer could not be read.")
        return Call(CallState.FAILED, error.info)
