"""Calibrate a model with NVIDIA's modelopt: a program of its own, never imported by the rest of Slipway.

The Python of `make setup-modelopt` runs it (modelopt 0.37.0, transformers 4.57.3), without the checkout on
its path: python -I nvidia_modelopt.py JOB, a JSON file with the arguments of `main`. Lines on stdout that are
JSON objects report progress; all other output belongs in a log.
"""

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import modelopt.torch.quantization as modelopt
import torch
import transformers
from modelopt.torch.export import model_config_export
from safetensors import safe_open
from safetensors.torch import save_file
from transformers.modeling_utils import no_init_weights

# How much of an outlier moves from the activations to the weights. modelopt's default, 1.0, relies on the
# ranges seen in the text, so that more is clipped: with the short text that ships, the perplexity of the
# sample model rose by a third, and by 7 % with 0.7.
SMOOTHING = 0.7
SETTINGS: dict[str, dict[str, Any]] = {
    "int4-awq": modelopt.INT4_AWQ_CFG,
    "int8-sq": {
        **modelopt.INT8_SMOOTHQUANT_CFG,
        "algorithm": {"method": "smoothquant", "alpha": SMOOTHING},
    },
    "fp8": modelopt.FP8_DEFAULT_CFG,
}
# For all others: only keys and values are calibrated.
UNQUANTIZED: dict[str, Any] = {"quant_cfg": {"default": {"enable": False}}, "algorithm": "max"}
CACHE_BITS: dict[str, Any] = {"int8": 8, "fp8": (4, 3)}
# Times that the samples are read: int4-awq first observes the activations, then tries scales.
PASSES = {"int4-awq": 2}
DECODERS = {"Qwen2ForCausalLM": "qwen"}


def main(
    files: list[str],
    config: dict[str, Any],
    source_dtype: str,
    dtype: str,
    quantization: str,
    cache: str,
    samples: list[list[int]],
    seed: int,
    output: str,
) -> None:
    """Write `output`, safetensors with the projections that NVIDIA's exporter writes for one GPU.

    files: the checkpoint's weights. config: of the model, in the words of transformers 4. source_dtype: of
    the checkpoint; dtype: of the prequant scaling factors. samples: token ids, one sequence each.
    """
    torch.manual_seed(seed)
    model = load(files, config, source_dtype)
    report(step="Calibrating", total=len(samples) * PASSES.get(quantization, 1))
    calibrate(model, quantization, cache, samples, lambda: report(advance=1))
    report(step="Quantizing the weights", total=1)
    save_file(select(export(model, dtype), quantization), output)
    report(advance=1)


def load(files: list[str], config: dict[str, Any], dtype: str) -> Any:
    """The model.

    from_pretrained is not used: transformers 4 ignores the rope base as transformers 5 writes it, and refuses
    an index of shards without metadata.
    """
    name = config["architectures"][0]
    settings = getattr(transformers, name.replace("ForCausalLM", "Config"))(**config)
    torch.set_default_dtype(getattr(torch, dtype))
    with no_init_weights():
        model = getattr(transformers, name)(settings)
    torch.set_default_dtype(torch.float32)
    model.tie_weights()
    parameters = dict(model.named_parameters())  # a tied lm_head is the embedding, and counts once
    report(step="Loading the model", total=len(parameters))
    for file in files:
        with safe_open(file, framework="pt") as tensors, torch.no_grad():
            for key in parameters.keys() & set(tensors.keys()):
                parameters.pop(key).copy_(tensors.get_tensor(key))
                report(advance=1)
    if parameters:
        raise KeyError(f"not in {files}: {sorted(parameters)}")
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def calibrate(
    model: Any, quantization: str, cache: str, samples: list[list[int]], advance: Callable[[], None]
) -> None:
    """Let modelopt put quantizers into the model and set their scales while it reads the samples."""
    settings = copy.deepcopy(SETTINGS.get(quantization, UNQUANTIZED))
    if cache != "none":
        keys_and_values = {"num_bits": CACHE_BITS[cache], "axis": None, "enable": True}
        settings["quant_cfg"]["*[kv]_bmm_quantizer"] = keys_and_values

    def read(model: Any) -> None:
        with torch.inference_mode():
            for ids in samples:
                model(torch.tensor([ids], device=model.device), use_cache=False)
                advance()

    modelopt.quantize(model, settings, read)


def export(model: Any, dtype: str) -> dict[str, torch.Tensor]:
    """Every tensor of the checkpoint for one GPU, under TensorRT-LLM's names."""
    # Slipway writes config.json; for Qwen2 the exporter's own needs tensorrt_llm.
    model_config_export.convert_to_tensorrt_llm_config = lambda *_, **__: {}
    decoder = DECODERS.get(model.config.architectures[0], "llama")
    ((_, tensors, _),) = model_config_export.torch_to_tensorrt_llm_checkpoint(
        model, decoder, getattr(torch, dtype), inference_tensor_parallel=1
    )
    return dict(tensors)


def select(tensors: dict[str, torch.Tensor], quantization: str) -> dict[str, torch.Tensor]:
    """The calibrated tensors; all others are equal to the checkpoint's."""
    suffixes: tuple[str, ...] = ("cache_scaling_factor",)
    if quantization in SETTINGS:
        projections = ("attention.qkv", "attention.dense", "mlp.fc", "mlp.gate", "mlp.proj")
        suffixes = ("scaling_factor", *(f"{name}.weight" for name in projections))
    return {name: tensor.contiguous() for name, tensor in tensors.items() if name.endswith(suffixes)}


def report(**what: Any) -> None:
    """Print one line for the process that waits."""
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
