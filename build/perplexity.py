"""How well a checkpoint foretells a text: what its engines are held against; called by the command."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from build.checkpoint.checkpoint import Checkpoint
from slipway.text.perplexity import Score, windows


def measure(directory: Path, token_ids: Sequence[int], advance: Callable[[float], None]) -> Score:
    """Let transformers foretell a text in fp32 with the weights of the checkpoint in `directory`.

    It holds the whole model in memory, 4 bytes a weight. advance: told how many tokens were foretold.
    Raises CheckpointError for a folder that is no checkpoint, InvalidRequest for a text too short.
    """
    checkpoint = Checkpoint.open(directory)
    import torch  # here, because it takes seconds
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        checkpoint.directory, dtype=torch.float32, local_files_only=True
    )
    scores = []
    with torch.no_grad():
        for piece in windows(token_ids):
            logits = model(torch.tensor([piece])).logits[0, :-1].numpy()
            scores.append(Score.from_logits(logits, np.array(piece[1:])))
            advance(len(piece) - 1)
    return Score.concatenate(scores)
