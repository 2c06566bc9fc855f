"""The detokenizers of the answers that are streaming."""

from collections import OrderedDict
from collections.abc import Sequence

from slipway.text.detokenizer import Detokenizer
from slipway.text.tokenizer import Tokenizer

# Streams whose engine died never get a last response, so their number needs a bound. 4096 is far more than a
# server runs at once, and a detokenizer holds a few bytes.
MAX_STREAMS = 4096


class Streams:
    """One incremental detokenizer per stream, by name. Past `limit` the least recently used is dropped.

    The text of an answer is what comes after its prompt. An answer in one response may come with its prompt:
    its ids then begin with BOS, and its text loses the padding before it.
    """

    def __init__(self, tokenizer: Tokenizer, limit: int = MAX_STREAMS) -> None:
        self._tokenizer = tokenizer
        self._limit = limit
        self._open: OrderedDict[int, Detokenizer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def push(self, name: int, ids: Sequence[int], last: bool) -> str:
        """The characters that `ids` complete. With the `last` ids the stream is dropped."""
        if last:
            whole = name not in self._open
            text = self._open.pop(name, Detokenizer(self._tokenizer)).push(ids)
            with_prompt = whole and bool(ids) and ids[0] == self._tokenizer.bos_token_id
            return self._tokenizer.unpadder().push(text) if with_prompt else text
        detokenizer = self._open.setdefault(name, Detokenizer(self._tokenizer))
        self._open.move_to_end(name)
        if len(self._open) > self._limit:
            self._open.popitem(last=False)
        return detokenizer.push(ids)
