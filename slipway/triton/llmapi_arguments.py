"""model.yaml: the arguments of `tensorrt_llm.LLM`, by upstream's keys; written by `ensemble.models`.

Keys and what they mean: TorchLlmArgs and KvCacheConfig in tensorrt_llm/llmapi/llm_args.py (1.2). The file
lies where NVIDIA's own llmapi model has it, and that model reads it too.
"""

from typing import Any

import yaml

from slipway.contract.manifest import Manifest

FILE_NAME = "model.yaml"


def text(manifest: Manifest, engine_dir: str) -> str:
    """The file, for the engine in `engine_dir`, absolute or relative to the checkout.

    Prompts are read in chunks: unlike that, one of more than max_num_tokens would be refused.
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
        # Of Triton, not of LLM: NVIDIA's model asks for them here, config.pbtxt has them for ours.
        "triton_config": {"max_batch_size": 0, "decoupled": True},
    }
    return yaml.safe_dump(arguments, sort_keys=False, allow_unicode=True)


def read(content: str) -> dict[str, Any]:
    """What `LLM` is called with."""
    arguments: dict[str, Any] = yaml.safe_load(content)
    return {name: value for name, value in arguments.items() if name != "triton_config"}
