"""Calibrate the tiny models of support/architectures.py with modelopt; write golden/modelopt_calibrated/*.

From the checkout: `PYTHONPATH=.:tests .cache/modelopt/bin/python tests/golden/modelopt_calibrated.py`, after
`make setup-modelopt`. Each model has two files. NAME.safetensors.xz is what build/trtllm/nvidia_modelopt.py
writes for one GPU. NAME.json has, for each split that NVIDIA's exporter made of the same calibrated model,
config.json and each tensor's first 12 digits of SHA-256 over shape, dtype and values.
"""

import hashlib
import json
import lzma
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from modelopt.torch.export import export_tensorrt_llm_checkpoint, model_config_export
from safetensors import safe_open
from safetensors.torch import save
from support.architectures import CALIBRATED, coarse_numbers

from build.trtllm import nvidia_modelopt

GOLDEN = Path(__file__).with_name("modelopt_calibrated")
SAMPLES = [[(7 * sample + 31 * place) % 250 for place in range(32)] for sample in range(4)]


def model_of(config: dict[str, Any]) -> Any:
    name = config["architectures"][0]
    made = getattr(transformers, name.replace("ForCausalLM", "Config"))(**config)
    made.architectures = config["architectures"]
    model = getattr(transformers, name)(made).to(torch.bfloat16).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            drawn = coarse_numbers(key, tuple(parameter.shape))
            parameter.copy_(torch.from_numpy(drawn).to(torch.bfloat16))
    return model


def calibrated(config: dict[str, Any], quantization: str, cache: str) -> Any:
    model = model_of(config)
    nvidia_modelopt.calibrate(model, quantization, cache, SAMPLES, lambda: None)
    return model


def export(model: Any, tensor: int, pipeline: int) -> dict[str, Any]:
    decoder = nvidia_modelopt.DECODERS.get(model.config.architectures[0], "llama")
    with tempfile.TemporaryDirectory() as folder:
        export_tensorrt_llm_checkpoint(
            model,
            decoder,
            torch.bfloat16,
            folder,
            inference_tensor_parallel=tensor,
            inference_pipeline_parallel=pipeline,
        )
        ranks = [described(Path(folder) / f"rank{rank}.safetensors") for rank in range(tensor * pipeline)]
        config = json.loads((Path(folder) / "config.json").read_text())
        del config["producer"], config["rank"]
        return {"config": config, "ranks": ranks}


def described(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as tensors:
        return {name: digest(tensors.get_tensor(name)) for name in sorted(tensors.keys())}


def digest(tensor: torch.Tensor) -> str:
    what = f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')} "
    data = tensor.contiguous().view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(what.encode() + data).hexdigest()[:12]


def let_qwen_pass() -> None:
    """Without tensorrt_llm the exporter refuses Qwen2 when it comes to config.json; its tensors are done."""
    convert = model_config_export.convert_to_tensorrt_llm_config

    def converted(model: Any, quantization: dict[str, Any], hf_config: Any = None) -> dict[str, Any]:
        try:
            return convert(model, quantization, hf_config)
        except NotImplementedError:
            parts, stages = model.tensor_parallel, model.pipeline_parallel
            quantization["kv_cache_quant_algo"] = model.layers[0].attention.kv_cache_dtype
            mapping = {"world_size": parts * stages, "tp_size": parts, "pp_size": stages}
            shared = {"mapping": mapping, "quantization": quantization, "decoder": "qwen"}
            return {"producer": {}, "rank": model.rank, **shared}

    model_config_export.convert_to_tensorrt_llm_config = converted


if __name__ == "__main__":
    let_qwen_pass()
    # It asks that a matrix cut by outputs had 128 inputs for each rank, which then has them all.
    model_config_export.check_weight_shape_valid = lambda *_: None
    write_config = model_config_export.convert_to_tensorrt_llm_config
    GOLDEN.mkdir(exist_ok=True)
    for name, (config, quantization, cache) in CALIBRATED.items():
        splits = [(1, 1), (2, 1), *([(1, 2)] if config["num_hidden_layers"] > 1 else [])]
        # The exporter changes what it is given, so each export has a model calibrated anew.
        exports = {
            f"tp{tensor}-pp{pipeline}": export(calibrated(config, quantization, cache), tensor, pipeline)
            for tensor, pipeline in splits
        }
        (GOLDEN / f"{name}.json").write_text(json.dumps(exports, indent=0) + "\n")
        tensors = nvidia_modelopt.export(calibrated(config, quantization, cache), "bfloat16")
        model_config_export.convert_to_tensorrt_llm_config = write_config
        packed = lzma.compress(
            save(nvidia_modelopt.select(tensors, quantization)), preset=9 | lzma.PRESET_EXTREME
        )
        (GOLDEN / f"{name}.safetensors.xz").write_bytes(packed)
        print(name, len(packed))
