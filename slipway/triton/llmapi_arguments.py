"""model.yaml: the arguments of `tensorrt_llm.LLM`, by upstream's keys.

The keys are those of TorchLlmArgs and KvCacheConfig in tensorrt_llm/llmapi/llm_args.py (1.2). NVIDIA's own
llmapi model reads the file at the same place.
"""

from typing import Any

import yaml

from slipway.contract.manifest import Manifest

FILE_NAME = "model.yaml"


def text(manifest: Manifest, engine_dir: str) -> str:
    """The file's content.

    engine_dir: absolute, or relative to the folder above the model repository.
    Prompts are prefilled in chunks: without, TensorRT-LLM refuses a prompt longer than max_num_tokens.
    """
    limits, cache = manifest.limits, manifest.kv_cache
    arguments: dict[str, Any] = {
        "model": engine_dir,
        "backend": "pytorch",
        "tensor_parallel_size": manifest.parallel.tensor,
        "pipeline_parallel_size": manifest.parallel.pipeline,
        "max_batch_size": limits.max_batch_size,
        "max_num_tokens": limits.max_num_tokens,
        "max_seq_len": limits.max_seq_len,
        "enable_chunked_prefill": True,
        "kv_cache_config": {
            "free_gpu_memory_fraction": cache.memory_share,
            "dtype": "auto" if cache.quantization == "none" else cache.quantization,
        },
        # For NVIDIA's model only: ours has them in config.pbtxt.
        "triton_config": {"max_batch_size": 0, "decoupled": True},
    }
    return yaml.safe_dump(arguments, sort_keys=False, allow_unicode=True)


def read(content: str) -> dict[str, Any]:
    """The arguments of `LLM` in the content of the file."""
    arguments: dict[str, Any] = yaml.safe_load(content)
    return {name: value for name, value in arguments.items() if name != "triton_config"}
