"""Calls to Triton as a client of TensorRT-LLM's ensemble makes them."""

import queue
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import np_to_triton_dtype

# Types as upstream's client sends them (triton_backend/inflight_batcher_llm/client).
DTYPES = {
    **dict.fromkeys(["max_tokens", "top_k", "end_id", "pad_id", "beam_width", "min_tokens"], np.int32),
    **dict.fromkeys(["num_return_sequences", "input_ids", "input_lengths", "request_output_len"], np.int32),
    **dict.fromkeys(["top_p", "temperature", "repetition_penalty", "presence_penalty"], np.float32),
    **dict.fromkeys(["frequency_penalty", "length_penalty", "embedding_bias_weights"], np.float32),
    **dict.fromkeys(["logit_bias_values", "min_p"], np.float32),
    **dict.fromkeys(["prompt_token_ids", "stop_token_ids", "logit_bias_ids", "num_top_log_probs"], np.int32),
    **dict.fromkeys(["seed", "lora_task_id"], np.uint64),
}


class Stream:
    """A gRPC stream with one request on it.

    outputs: those that the request asks for; none asks for all.
    """

    def __init__(
        self, url: str, model: str, request_id: str = "", outputs: Sequence[str] = (), **inputs: Any
    ) -> None:
        self._client = triton.InferenceServerClient(url)
        self._arrived: queue.Queue[Any] = queue.Queue()
        self._client.start_stream(lambda result, error: self._arrived.put((result, error)))
        self._client.async_stream_infer(
            model,
            [_tensor(name, value) for name, value in inputs.items()],
            outputs=[triton.InferRequestedOutput(name) for name in outputs] or None,
            request_id=request_id,
            enable_empty_final_response=True,
        )

    def __iter__(self) -> Iterator[Any]:
        """Yield the results, without a final one that is empty; raise an error that comes."""
        while True:
            result, error = self._arrived.get(timeout=60)
            if error is not None:
                self.leave()
                raise error
            response = result.get_response()
            if response.outputs:
                yield result
            if response.parameters["triton_final_response"].bool_param:
                # Not cancelled: at the last response that may keep Triton 2.51 from unloading the model.
                self._close(cancel=False)
                return

    def leave(self) -> None:
        """Close the stream at once, as a client that disconnects."""
        self._close(cancel=True)

    def _close(self, cancel: bool) -> None:
        self._client.stop_stream(cancel_requests=cancel)
        self._client.close()


def ask(url: str, model: str, prompt: str, max_tokens: int, **inputs: Any) -> list[str]:
    """The texts of all responses, in order."""
    stream = Stream(url, model, text_input=prompt, max_tokens=max_tokens, **inputs)
    return [result.as_numpy("text_output")[0].decode() for result in stream]


def chat(question: str) -> str:
    """The sample model's prompt for one question."""
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


def gauge(metrics_url: str, name: str, model: str) -> float:
    for line in httpx.get(f"{metrics_url}/metrics").text.splitlines():
        if line.startswith(f'{name}{{model="{model}"}}'):
            return float(line.split()[-1])
    raise AssertionError(f"{name} of {model} is not on {metrics_url}")


def _tensor(name: str, value: Any) -> triton.InferInput:
    if isinstance(value, str):
        array = np.array([[value.encode()]], dtype=object)
    elif isinstance(value, np.ndarray):
        array = value
    elif isinstance(value, list):
        array = np.array([value], dtype=object if isinstance(value[0], str) else DTYPES[name])
    else:
        array = np.array([[value]], dtype=DTYPES.get(name, np.bool_))
    tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor
