"""A checkpoint as transformers runs it, in fp32 on the CPU: the reference that engines are compared with.

The whole model is held in memory, 4 bytes a weight.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slipway.text.perplexity import Score, windows
from slipway.text.tokenizer import Tokenizer


def score(directory: Path, token_ids: Sequence[int], advance: Callable[[float], None]) -> Score:
    """Score a text. advance: called with the number of tokens scored in each step.

    Raises InvalidRequest when the text is too short.
    """
    import torch  # torch and transformers take seconds to import

    model = _load(directory)
    scores = []
    with torch.no_grad():
        for piece in windows(token_ids):
            logits = model(torch.tensor([piece])).logits[0, :-1].numpy()
            scores.append(Score.from_logits(logits, np.array(piece[1:])))
            advance(len(piece) - 1)
    return Score.concatenate(scores)


def greedy_answers(
    directory: Path, prompts: Sequence[str], max_tokens: int, advance: Callable[[float], None]
) -> list[str]:
    """The greedy text after each prompt, without special tokens. advance: called with 1 for each answer."""
    import torch
    import transformers

    tokenizer, model = Tokenizer.load(directory), _load(directory)
    # Of generation_config.json only the end: the engine is not asked for its repetition penalty.
    end = model.generation_config.eos_token_id
    model.generation_config = transformers.GenerationConfig(eos_token_id=end)
    answers = []
    for prompt in prompts:
        prompt_ids = tokenizer.encode(prompt)
        ids = torch.tensor([prompt_ids])
        with torch.no_grad():
            out = model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=max_tokens
            )
        answers.append(tokenizer.decode(out[0, len(prompt_ids) :].tolist(), prompt_ids))
        advance(1)
    return answers


def _load(directory: Path) -> Any:
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, local_files_only=True
    )
