"""Calibrate a model with NVIDIA's modelopt; run as a program by `calibration`, never imported by Slipway.

The Python of `make setup-modelopt` runs it (modelopt 0.37.0, transformers 4.57.3), with nothing of Slipway on
its path: python -I nvidia_modelopt.py JOB, a JSON file with the arguments of `main`. Lines on stdout that are
JSON objects say how far it is; whatever else modelopt prints is for the log.
"""

import copy
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import modelopt.torch.quantization as quantization
import torch
import transformers
from modelopt.torch.export import model_config_export
from safetensors import safe_open
from safetensors.torch import save_file
from transformers.modeling_utils import no_init_weights

# How much of an outlier goes from the activations to the weights. modelopt's own 1.0 divides every channel by
# what the text showed of it, so that more is cut off: with the short text that ships, the sample model's
# perplexity rose by a third with that, and by 7 % with this.
SMOOTHING = 0.7
FORMS: dict[str, dict[str, Any]] = {
    "int4-awq": quantization.INT4_AWQ_CFG,
    "int8-sq": {
        **quantization.INT8_SMOOTHQUANT_CFG,
        "algorithm": {"method": "smoothquant", "alpha": SMOOTHING},
    },
    "fp8": quantization.FP8_DEFAULT_CFG,
}
# For the forms that trtllm-build makes itself, or none: keys and values alone are watched.
UNQUANTISED: dict[str, Any] = {"quant_cfg": {"default": {"enable": False}}, "algorithm": "max"}
CACHE_BITS: dict[str, Any] = {"int8": 8, "fp8": (4, 3)}
# How often a calibration reads the samples: int4-awq once to see the activations, once to try scales.
PASSES = {"int4-awq": 2}
DECODERS = {"Qwen2ForCausalLM": "qwen"}


def main(
    files: list[str],
    config: dict[str, Any],
    source_dtype: str,
    dtype: str,
    form: str,
    cache: str,
    samples: list[list[int]],
    seed: int,
    output: str,
) -> None:
    """Write `output`, safetensors with what NVIDIA's exporter makes of the projections for one GPU.

    files: of the checkpoint's weights. config: of the model, in the words of transformers 4. source_dtype: of
    the checkpoint; dtype: of the prequant scaling factors. samples: token ids to read, one sequence each.
    """
    torch.manual_seed(seed)
    model = loaded(files, config, source_dtype)
    tell(step="Calibrating", total=len(samples) * PASSES.get(form, 1))
    calibrate(model, form, cache, samples, lambda: tell(advance=1))
    tell(step="Quantising the weights", total=1)
    save_file(calibrated(exported(model, dtype), form), output)
    tell(advance=1)


def loaded(files: list[str], config: dict[str, Any], dtype: str) -> Any:
    """The model.

    Not by from_pretrained: transformers 4 overlooks the rope base as transformers 5 writes it, and refuses an
    index of shards without metadata.
    """
    name = config["architectures"][0]
    made = getattr(transformers, name.replace("ForCausalLM", "Config"))(**config)
    torch.set_default_dtype(getattr(torch, dtype))
    with no_init_weights():
        model = getattr(transformers, name)(made)
    torch.set_default_dtype(torch.float32)
    model.tie_weights()
    parameters = dict(model.named_parameters())  # a tied lm_head is the embedding, and counts once
    tell(step="Loading the model", total=len(parameters))
    for file in files:
        with safe_open(file, framework="pt") as tensors, torch.no_grad():
            for key in parameters.keys() & set(tensors.keys()):
                parameters.pop(key).copy_(tensors.get_tensor(key))
                tell(advance=1)
    if parameters:
        raise KeyError(f"not in {files}: {sorted(parameters)}")
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def calibrate(
    model: Any, form: str, cache: str, samples: list[list[int]], advance: Callable[[], None]
) -> None:
    """Let modelopt put quantisers into the model and set them by what the samples bring about."""
    settings = copy.deepcopy(FORMS.get(form, UNQUANTISED))
    if cache != "none":
        watched = {"num_bits": CACHE_BITS[cache], "axis": None, "enable": True}
        settings["quant_cfg"]["*[kv]_bmm_quantizer"] = watched

    def read(model: Any) -> None:
        with torch.inference_mode():
            for ids in samples:
                model(torch.tensor([ids], device=model.device), use_cache=False)
                advance()

    quantization.quantize(model, settings, read)


def exported(model: Any, dtype: str) -> dict[str, torch.Tensor]:
    """Every tensor of the checkpoint for one GPU, under TensorRT-LLM's names."""
    # config.json is written by Slipway; the exporter's own words for it need tensorrt_llm for Qwen2.
    model_config_export.convert_to_tensorrt_llm_config = lambda *_, **__: {}
    decoder = DECODERS.get(model.config.architectures[0], "llama")
    ((_, tensors, _),) = model_config_export.torch_to_tensorrt_llm_checkpoint(
        model, decoder, getattr(torch, dtype), inference_tensor_parallel=1
    )
    return tensors


def calibrated(tensors: dict[str, torch.Tensor], form: str) -> dict[str, torch.Tensor]:
    """Those that a calibration makes; the others are the checkpoint's as they are."""
    return {name: tensor.contiguous() for name, tensor in tensors.items() if name.endswith(made(form))}


def made(form: str) -> tuple[str, ...]:
    """How the names end that a calibration makes."""
    if form not in FORMS:
        return ("cache_scaling_factor",)
    projections: Iterable[str] = ("attention.qkv", "attention.dense", "mlp.fc", "mlp.gate", "mlp.proj")
    return ("scaling_factor", *(f"{name}.weight" for name in projections))


def tell(**what: Any) -> None:
    """One line for the process that waits."""
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
