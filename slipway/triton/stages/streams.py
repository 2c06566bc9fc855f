"""The text of many answers while their tokens arrive; called by `ensemble.postprocessing`."""

from collections import OrderedDict
from collections.abc import Sequence

from slipway.text.detokenizer import Detokenizer
from slipway.text.tokenizer import Tokenizer

# A stream whose last response never came (its engine died) would stay for ever; 4096 is far more than one
# server runs at once, and a detokenizer holds a few bytes.
MOST_STREAMS = 4096


class Streams:
    """One incremental detokenizer per stream, by name; the least recently used give way past `most`."""

    def __init__(self, tokenizer: Tokenizer, most: int = MOST_STREAMS) -> None:
        self._tokenizer = tokenizer
        self._most = most
        self._open: OrderedDict[int, Detokenizer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def push(self, name: int, ids: Sequence[int], last: bool) -> str:
        """The whole characters that `ids` complete; with the `last` of them the stream is forgotten."""
        if last:
            return self._open.pop(name, Detokenizer(self._tokenizer)).push(ids)
        detokenizer = self._open.setdefault(name, Detokenizer(self._tokenizer))
        self._open.move_to_end(name)
        if len(self._open) > self._most:
            self._open.popitem(last=False)
        return detokenizer.push(ids)
