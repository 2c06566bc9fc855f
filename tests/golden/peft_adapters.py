"""Train the adapters of support/adapters.py with peft, record their logits; write golden/peft/*.

From the checkout: `PYTHONPATH=tests PYTHON tests/golden/peft_adapters.py`. PYTHON has this project's packages
and peft 0.21.2. Beside each adapter is logits.npy: float32 [vocab] after the prompt. The adapter is applied,
not merged: after peft merges it into tied embeddings, the model differs from the trained one.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from support.adapters import ADAPTERS, CASES, PROMPT, write_base
from transformers import LlamaForCausalLM


def main() -> None:
    shutil.rmtree(ADAPTERS, ignore_errors=True)
    for name, case in CASES.items():
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            base = write_base(case, Path(folder) / "base")
            model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
        if case.rows:
            model.resize_token_embeddings(case.rows, mean_resizing=False)
        tuned = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **case.lora))
        with torch.no_grad():
            for parameter in tuned.parameters():
                if parameter.requires_grad:  # as training would: B starts at zero
                    parameter.add_(torch.randn_like(parameter) * 0.1)
            logits = tuned(torch.tensor([PROMPT])).logits[0, -1]
        directory = ADAPTERS / name.replace(" ", "-")
        tuned.peft_config["default"].base_model_name_or_path = "base"
        tuned.save_pretrained(directory)
        (directory / "README.md").unlink(missing_ok=True)
        np.save(directory / "logits.npy", logits.numpy())


if __name__ == "__main__":
    main()
