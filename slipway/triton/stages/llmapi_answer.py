"""One answer of the llmapi stage: its tokens as the text so far, in output tensors."""

from collections.abc import Sequence

import numpy as np

from slipway.text.detokenizer import Detokenizer
from slipway.text.stop import StopStrings
from slipway.text.tokenizer import Tokenizer
from slipway.triton.stages.llmapi_request import TextRequest
from slipway.triton.stages.request import Array

# Upstream's finish reason until an answer ends.
_NOT_YET = "None"


class TextAnswer:
    """The answer to one request so far.

    TensorRT-LLM does not make the text: its stop strings are token sequences, which miss the same text in
    other tokens, and its detokenizer differs from that of the other targets.
    """

    def __init__(self, request: TextRequest, tokenizer: Tokenizer, eos_token_ids: Sequence[int]) -> None:
        self._request = request
        self._eos_token_ids = frozenset(eos_token_ids)
        self._stop_token_ids = frozenset(request.stop_token_ids)
        self._stop_reason: str | int | None = None
        self._detokenizer = Detokenizer(tokenizer)
        self._stop = StopStrings(request.stop)
        self._text = ""
        self._tokens = 0
        self.finish_reason: str | None = None

    def add(
        self, token_ids: Sequence[int], finish_reason: str | None, stop_reason: str | int | None = None
    ) -> dict[str, Array]:
        """The response after this step, as output tensors by name; empty where there is none.

        token_ids: all of the answer so far. The last may be an end-of-sequence id, which has no text and does
            not count. With one other than the first, LLM's finish reason is "length" when it is the last
            token that fits.
        stop_reason: the stop token that ended the answer, which LLM has taken off, if one did.
        """
        if stop_reason in self._stop_token_ids:
            self._stop_reason = stop_reason
        if token_ids and token_ids[-1] in self._eos_token_ids | self._stop_token_ids:
            if token_ids[-1] in self._stop_token_ids:
                self._stop_reason = token_ids[-1]
            token_ids, finish_reason = token_ids[:-1], "stop"
        piece, stopped = self._stop.push(self._detokenizer.push(token_ids[self._tokens :]))
        self._text += piece
        self._tokens = len(token_ids)
        self.finish_reason = "stop" if stopped else finish_reason
        self._stop_reason = stopped or self._stop_reason
        if self.finish_reason and not stopped:
            self._text += self._stop.flush()
        return self._tensors() if self._request.streaming or self.finish_reason else {}

    def _tensors(self) -> dict[str, Array]:
        tensors: dict[str, Array] = {
            "text_output": np.array([self._text.encode()], object),
            "num_output_tokens": np.array([self._tokens], np.int32),
        }
        if self._request.finish_reason:
            tensors["finish_reason"] = np.array([(self.finish_reason or _NOT_YET).encode()], object)
        if self._request.stop_reason:
            tensors["stop_reason"] = np.array([str(self._stop_reason).encode()], object)
        return tensors
