"""What all stages need inside Triton: tensors of requests, responses, errors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from slipway.contract import stage_errors
from slipway.contract.errors import SlipwayError
from slipway.triton.stages.request import Array


def tensors(request: Any) -> dict[str, Array]:
    """The inputs of the request, by name."""
    return {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}


def accept_each(requests: Sequence[Any], accept: Callable[[Mapping[str, Array], str, Any], None]) -> None:
    """Call `accept` with the inputs, the id and the response sender of each request of a decoupled stage.

    A SlipwayError of `accept` ends that request with its message.
    """
    for request in requests:
        sender = request.get_response_sender()
        try:
            accept(tensors(request), request.request_id(), sender)
        except SlipwayError as error:
            refuse(sender, error)


def response(**outputs: Array) -> Any:
    """A response with these outputs."""
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, value) for name, value in outputs.items()])


def refusal(error: SlipwayError) -> Any:
    """A response with the message of `error`, and its kind."""
    code = getattr(pb_utils.TritonError, stage_errors.kind(error) or "INTERNAL")
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(stage_errors.written(error), code))


def refuse(sender: Any, error: SlipwayError) -> None:
    """End a decoupled answer with the message of `error`."""
    sender.send(refusal(error), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def strings(*texts: str) -> Array:
    """Texts as a STRING tensor of one dimension."""
    return np.array([text.encode() for text in texts], dtype=object)
