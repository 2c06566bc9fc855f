"""NVIDIA's exporter of TensorRT-LLM checkpoints, run by `python -m bench convert` with modelopt's own Python.

Arguments: a checkpoint folder, a folder to write, the tensor parallelism.
"""

import sys

import torch
from modelopt.torch.export import export_tensorrt_llm_checkpoint
from transformers import AutoModelForCausalLM


def main(checkpoint: str, output: str, tensor_parallel: str) -> None:
    """Load in bfloat16 and export, not quantized."""
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16)
    with torch.inference_mode():
        export_tensorrt_llm_checkpoint(
            model,
            "llama",
            torch.bfloat16,
            export_dir=output,
            inference_tensor_parallel=int(tensor_parallel),
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
