"""The text of many answers while their tokens arrive; called by `ensemble.postprocessing`."""

from collections import OrderedDict
from collections.abc import Sequence

from text.detokenizer import Detokenizer
from text.tokenizer import Tokenizer

# A stream whose last, empty response never came (its engine died) would stay for ever; 4096 is far more
# than one server runs at once, and a detokenizer holds a few bytes.
MOST_STREAMS = 4096


class Streams:
    """One incremental detokenizer per stream, by name; the least recently used give way past `most`."""

    def __init__(self, tokenizer: Tokenizer, most: int = MOST_STREAMS) -> None:
        self._tokenizer = tokenizer
        self._most = most
        self._open: OrderedDict[str, Detokenizer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def push(self, name: str, ids: Sequence[int]) -> str:
        """The whole characters that `ids` complete; no ids at all end the stream."""
        if not ids:
            self._open.pop(name, None)
            return ""
        detokenizer = self._open.setdefault(name, Detokenizer(self._tokenizer))
        self._open.move_to_end(name)
        if len(self._open) > self._most:
            self._open.popitem(last=False)
        return detokenizer.push(ids)
