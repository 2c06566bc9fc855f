"""A stand-in for Triton whose engine takes no time: `python tests/support/instant_triton.py PORT`.

Every model is ready. Every answer is one message, a protobuf of Triton's own service definition, with as many
tokens as the request allows.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as triton

HOST = "127.0.0.1"
SERVICE = "inference.GRPCInferenceService"
TOKEN = " word"
# The tensors of the ensemble that the gateway names.
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
    "bad_words",
    "logit_bias_ids",
    "logit_bias_values",
    "guided_decoding_guide_type",
    "guided_decoding_guide",
    "return_log_probs",
    "num_top_log_probs",
    "num_prompt_log_probs",
    "return_end_token",
    "end_id",
    "stop_token_ids",
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
    "prompt_log_probs",
    "prompt_ranks",
    "top_prompt_log_prob_ids",
    "top_prompt_log_probs",
)


def message(tokens: int, wanted: frozenset[str], likeliest: int) -> bytes:
    """A whole answer of `tokens` tokens.

    wanted: names of the outputs. likeliest: number of the likeliest tokens that come with each token.
    """
    text = (TOKEN * tokens).encode()
    response = triton.ModelInferResponse(model_name="instant", model_version="1")
    outputs: list[tuple[str, str, list[int], bytes]] = [
        ("text_output", "BYTES", [1], _bytes(text)),
        ("num_output_tokens", "INT32", [1, 1], np.array([tokens], np.int32).tobytes()),
        ("end_of_sequence", "BOOL", [1, 1], b"\0"),
        ("finish_reason", "BYTES", [1, 1], _bytes(b"length")),
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
    # As of a prompt of two tokens, whatever the prompt is.
    ranks, log_probs = np.ones(1, np.int32).tobytes(), np.zeros(1, np.float32).tobytes()
    outputs += [
        ("prompt_log_probs", "FP32", [1, 1], log_probs),
        ("prompt_ranks", "INT32", [1, 1], ranks),
        ("top_prompt_log_prob_ids", "INT32", [1, 1, 1], ranks),
        ("top_prompt_log_probs", "FP32", [1, 1, 1], log_probs),
    ]
    for name, datatype, shape, content in outputs:
        if name in wanted:
            response.outputs.add(name=name, datatype=datatype, shape=shape)
            response.raw_output_contents.append(content)
    return _serialized(triton.ModelStreamInferResponse(infer_response=response))


async def answer(requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
    """The method ModelStreamInfer."""
    async for content in requests:
        asked = triton.ModelInferRequest.FromString(content)
        inputs = dict(zip((each.name for each in asked.inputs), asked.raw_input_contents, strict=True))
        if "max_tokens" not in inputs:  # the engine stage is asked to stop a generation
            return
        tokens = int(np.frombuffer(inputs["max_tokens"], np.int32)[0])
        wanted = frozenset(each.name for each in asked.outputs)
        likeliest = int(np.frombuffer(inputs.get("num_top_log_probs", bytes(4)), np.int32)[0])
        yield message(tokens, wanted, likeliest)


def _serialized(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _bytes(content: bytes) -> bytes:
    """One element of a BYTES tensor: its length and its content."""
    return len(content).to_bytes(4, "little") + content


async def ready(content: bytes, context: object) -> bytes:
    """The method ModelReady: every model is ready."""
    return _serialized(triton.ModelReadyResponse(ready=True))


async def metadata(content: bytes, context: object) -> bytes:
    """The method ModelMetadata: every model has the ensemble's tensors."""
    described = triton.ModelMetadataResponse(name="instant")
    for name in INPUTS:
        described.inputs.add(name=name)
    for name in OUTPUTS:
        described.outputs.add(name=name)
    return _serialized(described)


async def loaded(content: bytes, context: object) -> bytes:
    """The method RepositoryModelLoad: every model loads."""
    return _serialized(triton.RepositoryModelLoadResponse())


async def unloaded(content: bytes, context: object) -> bytes:
    """The method RepositoryModelUnload: nothing holds memory here."""
    return _serialized(triton.RepositoryModelUnloadResponse())


async def index(content: bytes, context: object) -> bytes:
    """The method RepositoryIndex: there are no files of models."""
    return _serialized(triton.RepositoryIndexResponse())


async def serve(port: int) -> None:
    """Answer until the process is ended."""
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
