"""Merged adapters against what peft says of them: the model with the adapter at work in it, not merged."""

from pathlib import Path

import numpy as np
import pytest
from support.adapters import ADAPTERS, CASES, PROMPT, write_base

from build.checkpoint.checkpoint import Checkpoint
from build.checkpoint.merge import merge


@pytest.mark.parametrize("name", CASES)
def test_a_merged_checkpoint_answers_as_the_model_that_was_trained(name: str, tmp_path: Path) -> None:
    import torch
    from transformers import LlamaForCausalLM

    golden = ADAPTERS / name.replace(" ", "-")
    base = write_base(CASES[name], tmp_path / "base")

    merge(base, [golden], tmp_path / "merged")

    model = LlamaForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    with torch.no_grad():
        logits = model(torch.tensor([PROMPT])).logits[0, -1].numpy()
    np.testing.assert_allclose(logits, np.load(golden / "logits.npy"), atol=1e-4)
    untouched = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.no_grad():
        before = untouched(torch.tensor([PROMPT])).logits[0, -1].numpy()
    assert np.abs(before - logits[: len(before)]).max() > 0.1
    assert Checkpoint.open(tmp_path / "merged").architecture.vocab_size == CASES[name].rows or 264
