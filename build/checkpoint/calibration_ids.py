"""The tokens on which activations are observed while a checkpoint is quantized here."""

from build.checkout import CALIBRATION_TEXT
from build.checkpoint.checkpoint import Checkpoint
from slipway.text.tokenizer import Tokenizer

_TOKENS = 1024


def calibration_ids(checkpoint: Checkpoint) -> list[int]:
    """The first tokens of the calibration text, as the checkpoint's own tokenizer reads it."""
    text = CALIBRATION_TEXT.read_text(encoding="utf-8")
    return Tokenizer.load(checkpoint.directory).encode(text)[: min(_TOKENS, checkpoint.architecture.context)]
