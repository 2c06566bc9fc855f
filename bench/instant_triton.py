"""A stand-in for Triton whose engine takes no time: `python -m bench.instant_triton PORT`.

Started by `bench.frontend`. The ensemble's outputs that our gateway asks for come as protobuf of Triton's own
service definition, many tokens to a message as our engine sends them (`runtime/outbox.py`): the first alone,
then `tokens_per_message` at a time, `pause_s` apart. Both stand in the prompt, as a JSON object (`plan`); to
any other prompt the answer is one message.
"""

import asyncio
import re
import sys
from collections.abc import AsyncIterator

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as triton

HOST = "127.0.0.1"
SERVICE = "inference.GRPCInferenceService"
# What a token of English text is on average, with its space.
TOKEN = " word"
PLAN = re.compile(rb'{"tokens_per_message": (\d+), "pause_s": ([\d.]+)}')


# Of the ensembles that it stands for, as far as a gateway names them.
INPUTS = (
    "text_input",
    "prompt_token_ids",
    "max_tokens",
    "min_tokens",
    "stream",
    "return_num_output_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias_ids",
    "logit_bias_values",
    "guided_decoding_guide_type",
    "guided_decoding_guide",
    "return_log_probs",
    "num_top_log_probs",
    "end_id",
)
OUTPUTS = (
    "text_output",
    "num_output_tokens",
    "end_of_sequence",
    "cached_tokens",
    "finish_reason",
    "output_ids",
    "output_log_probs",
    "top_log_prob_ids",
    "top_log_probs",
)
# What a client reads of any answer.
_READ_ALWAYS = frozenset({"text_output", "num_output_tokens", "end_of_sequence"})


def plan(tokens_per_message: int, pause_s: float) -> str:
    """The prompt that asks for answers of this shape."""
    return f'{{"tokens_per_message": {tokens_per_message}, "pause_s": {pause_s}}}'


def message(
    tokens: int, wanted: frozenset[str] = _READ_ALWAYS, likeliest: int = 0, last: bool = False
) -> bytes:
    """One response with so many new tokens.

    wanted: outputs. likeliest: how many of the likeliest tokens are told with each. last: the answer ends.
    """
    text = (TOKEN * tokens).encode()
    response = triton.ModelInferResponse(model_name="instant", model_version="1")
    outputs: list[tuple[str, str, list[int], bytes]] = [
        ("text_output", "BYTES", [1], _bytes(text)),
        ("num_output_tokens", "INT32", [1, 1], np.array([tokens], np.int32).tobytes()),
        ("end_of_sequence", "BOOL", [1, 1], b"\0"),
        ("cached_tokens", "INT32", [1, 1], np.zeros(1, np.int32).tobytes()),
        ("output_ids", "INT32", [1, 1, tokens], np.ones(tokens, np.int32).tobytes()),
        ("output_log_probs", "FP32", [1, 1, tokens], np.zeros(tokens, np.float32).tobytes()),
        (
            "top_log_prob_ids",
            "INT32",
            [1, 1, tokens, likeliest],
            np.ones(tokens * likeliest, np.int32).tobytes(),
        ),
        (
            "top_log_probs",
            "FP32",
            [1, 1, tokens, likeliest],
            np.zeros(tokens * likeliest, np.float32).tobytes(),
        ),
    ]
    if last:
        outputs.append(("finish_reason", "BYTES", [1, 1], _bytes(b"length")))
    for name, datatype, shape, content in outputs:
        if name in wanted:
            response.outputs.add(name=name, datatype=datatype, shape=shape)
            response.raw_output_contents.append(content)
    return triton.ModelStreamInferResponse(infer_response=response).SerializeToString()


def request(prompt: str, max_tokens: int) -> bytes:
    """What a client without a gateway sends, to be answered as the gateway is."""
    asked = triton.ModelInferRequest(model_name="instant")
    for name, datatype, content in (
        ("text_input", "BYTES", _bytes(prompt.encode())),
        ("max_tokens", "INT32", np.array([max_tokens], np.int32).tobytes()),
    ):
        asked.inputs.add(name=name, datatype=datatype, shape=[1, 1])
        asked.raw_input_contents.append(content)
    return asked.SerializeToString()


async def answer(requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
    """The method ModelStreamInfer."""
    async for content in requests:
        asked = triton.ModelInferRequest.FromString(content)
        inputs = dict(zip((each.name for each in asked.inputs), asked.raw_input_contents, strict=True))
        if "max_tokens" not in inputs:  # a request to the engine stage, that a generation be stopped
            return
        left = int(np.frombuffer(inputs["max_tokens"], np.int32)[0])
        wanted = frozenset(each.name for each in asked.outputs) or _READ_ALWAYS
        likeliest = int(np.frombuffer(inputs.get("num_top_log_probs", bytes(4)), np.int32)[0])
        found = PLAN.search(inputs["text_input"])
        if found is None:
            yield message(left, wanted, likeliest, last=True)
            continue
        many, pause_s = int(found[1]), float(found[2])
        yield message(1, wanted, likeliest, last=left == 1)
        left -= 1
        full = message(many, wanted, likeliest)
        while left > 0:
            if pause_s:
                await asyncio.sleep(pause_s)
            yield full if left > many else message(left, wanted, likeliest, last=True)
            left -= many


def _bytes(content: bytes) -> bytes:
    return len(content).to_bytes(4, "little") + content


async def ready(content: bytes, context: object) -> bytes:
    """The method ModelReady: every model is."""
    return triton.ModelReadyResponse(ready=True).SerializeToString()


async def metadata(content: bytes, context: object) -> bytes:
    """The method ModelMetadata: every model has what ours have."""
    told = triton.ModelMetadataResponse(name="instant")
    for name in INPUTS:
        told.inputs.add(name=name)
    for name in OUTPUTS:
        told.outputs.add(name=name)
    return told.SerializeToString()


async def loaded(content: bytes, context: object) -> bytes:
    """The method RepositoryModelLoad: every model is."""
    return triton.RepositoryModelLoadResponse().SerializeToString()


async def unloaded(content: bytes, context: object) -> bytes:
    """The method RepositoryModelUnload: nothing holds memory here."""
    return triton.RepositoryModelUnloadResponse().SerializeToString()


async def index(content: bytes, context: object) -> bytes:
    """The method RepositoryIndex: there are no files of models."""
    return triton.RepositoryIndexResponse().SerializeToString()


async def serve(port: int) -> None:
    """Answer until the process is ended. Messages pass as bytes, made once per answer."""
    server = grpc.aio.server()
    methods = {
        "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(answer),
        "ModelReady": grpc.unary_unary_rpc_method_handler(ready),
        "ModelMetadata": grpc.unary_unary_rpc_method_handler(metadata),
        "RepositoryModelLoad": grpc.unary_unary_rpc_method_handler(loaded),
        "RepositoryModelUnload": grpc.unary_unary_rpc_method_handler(unloaded),
        "RepositoryIndex": grpc.unary_unary_rpc_method_handler(index),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    server.add_insecure_port(f"{HOST}:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
