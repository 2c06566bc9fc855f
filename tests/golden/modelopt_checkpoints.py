"""Export the tiny models of support/architectures.py with NVIDIA's exporter; write golden/modelopt/*.json.

From the checkout: `PYTHONPATH=tests PYTHON tests/golden/modelopt_checkpoints.py`. PYTHON has an environment
of its own with nvidia-modelopt 0.37.0, transformers 4.57.3 and torch for the CPU. Each file has config.json
of each split, and the shape, dtype and half the SHA-256 of each tensor of each rank.
"""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from modelopt.torch.export import export_tensorrt_llm_checkpoint, model_config_export
from safetensors import safe_open
from support.architectures import CONFIGS, numbers

SPLITS = [(tensor, pipeline) for pipeline in (1, 2) for tensor in (1, 2, 4)]
GOLDEN = Path(__file__).with_name("modelopt")


def model_of(config: dict[str, Any]) -> Any:
    family = config["architectures"][0].removesuffix("ForCausalLM")
    made = getattr(transformers, f"{family}Config")(**config)
    made.architectures = config["architectures"]
    model = getattr(transformers, f"{family}ForCausalLM")(made).to(torch.bfloat16)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(numbers(name, tuple(parameter.shape))).to(torch.bfloat16))
    return model


def export(config: dict[str, Any], tensor: int, pipeline: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        export_tensorrt_llm_checkpoint(
            model_of(config),  # anew for each, because the exporter changes what it is given
            "qwen" if config["model_type"] == "qwen2" else "llama",
            torch.bfloat16,
            folder,
            inference_tensor_parallel=tensor,
            inference_pipeline_parallel=pipeline,
        )
        ranks = [described(Path(folder) / f"rank{rank}.safetensors") for rank in range(tensor * pipeline)]
        return {"config": json.loads((Path(folder) / "config.json").read_text()), "ranks": ranks}


def described(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as tensors:
        return {name: description(tensors.get_tensor(name)) for name in sorted(tensors.keys())}


def description(tensor: torch.Tensor) -> str:
    digest = hashlib.sha256(tensor.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()
    return f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')} {digest[:32]}"


def let_qwen_pass() -> None:
    """Without tensorrt_llm the exporter refuses Qwen2 when it comes to config.json; its tensors are done."""
    convert = model_config_export.convert_to_tensorrt_llm_config

    def converted(model: Any, quantization: dict[str, Any], hf_config: Any = None) -> dict[str, Any]:
        try:
            return convert(model, quantization, hf_config)
        except NotImplementedError:
            ranks = model.tensor_parallel * model.pipeline_parallel
            mapping = {
                "world_size": ranks,
                "tp_size": model.tensor_parallel,
                "pp_size": model.pipeline_parallel,
            }
            return {"rank": model.rank, "mapping": mapping, "quantization": quantization, "decoder": "qwen"}

    model_config_export.convert_to_tensorrt_llm_config = converted


if __name__ == "__main__":
    let_qwen_pass()
    for kind, config in CONFIGS.items():
        splits = {f"tp{tensor}-pp{pipeline}": export(config, tensor, pipeline) for tensor, pipeline in SPLITS}
        (GOLDEN / f"{kind}.json").write_text(json.dumps(splits, indent=1) + "\n")
        print(kind)
