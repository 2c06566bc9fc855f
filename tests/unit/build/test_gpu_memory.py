"""The formulas against figures that are public: parameter counts, and logs of TensorRT-LLM."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import tiny_checkpoints as tiny
from support.paths import CONFIGS

from build.checkpoint.architecture import Architecture
from build.trtllm import memory
from slipway.contract.recipe import Parallel

ONE = Parallel()
MIB = 1 << 20


def model(name: str) -> Architecture:
    return Architecture.read(CONFIGS / f"{name}.json")


@pytest.fixture
def qwen_coder(tmp_path: Path) -> Architecture:
    """Qwen2.5-Coder-0.5B, the model of issue 1188."""
    values = {
        "architectures": ["Qwen2ForCausalLM"],
        "vocab_size": 151936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": False,  # it is tied, but the engine of that issue held both tables
    }
    tiny.write_config(tmp_path, **values)
    return Architecture.read(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("llama-3.2-1b", 1_235_814_400),
        ("llama-3.2-3b", 3_212_749_824),
        ("llama-3-8b", 8_030_261_248),
        ("deepseek-coder-1.3b", 1_346_471_936),
        ("llama-2-7b-chat", 6_738_415_616),
    ],
)
def test_the_configs_are_those_of_the_published_models(name: str, parameters: int) -> None:
    architecture = model(name)
    assert sum(math.prod(shape) for shape in architecture.tensors().values()) == parameters
    positions = 4 * architecture.context * architecture.head_dim
    assert memory.weight_bytes(architecture, "none", ONE) == 2 * parameters + positions


def test_engines_of_public_logs_have_the_size_the_formula_says(qwen_coder: Architecture) -> None:
    # memory.md: fp8 Llama 2 7B; issue 1188: int8; issue 3636: float16 Llama 3.1 8B.
    assert memory.weight_bytes(model("llama-2-7b-chat"), "fp8", ONE) / MIB == pytest.approx(6695, rel=0.01)
    assert memory.weight_bytes(qwen_coder, "int8", ONE) / MIB == pytest.approx(875, rel=0.02)
    longer = replace(model("llama-3-8b"), context=131072)  # 3.1, whose table of positions is 64 MiB
    assert memory.weight_bytes(longer, "none", ONE) / MIB == pytest.approx(15388, rel=0.001)


def test_the_kv_cache_takes_what_the_log_shows() -> None:
    # memory.md: 63.44 GiB for 259,840 tokens of Llama 2 7B with an fp8 KV cache.
    per_token = memory.kv_bytes_per_token(model("llama-2-7b-chat"), "fp8", ONE)
    assert per_token * 259_840 / 2**30 == pytest.approx(63.44, abs=0.005)


def test_activations_are_not_below_what_the_logs_show_and_not_far_above(qwen_coder: Architecture) -> None:
    for architecture, tokens, logged, over in (
        (qwen_coder, 8192, 773.51, 1.03),
        (qwen_coder, 512, 43.26, 1.15),
        (model("llama-3-8b"), 128_000, 37812.51, 1.03),
        (model("llama-2-7b-chat"), 8192, 1134.01, 1.8),
    ):
        estimated = memory.activation_bytes(architecture, tokens, ONE) / MIB
        assert logged <= estimated <= over * logged


def test_buffers_are_not_below_what_the_log_shows(qwen_coder: Architecture) -> None:
    logged = 2.66 + 5.76
    assert logged <= memory.buffer_bytes(qwen_coder, 2048, 32768) / 2**30 <= 1.2 * logged


def test_kv_heads_are_held_by_several_ranks_when_there_are_too_few() -> None:
    architecture = model("llama-3-8b")
    per_token = [
        memory.kv_bytes_per_token(architecture, "none", Parallel(tensor=tp)) for tp in (1, 2, 4, 8, 16)
    ]
    assert per_token == [131072, 65536, 32768, 16384, 16384]


@given(tensor=st.sampled_from([1, 2, 4, 8]), pipeline=st.sampled_from([1, 2, 4, 8]))
def test_ranks_together_hold_at_least_the_whole_model(tensor: int, pipeline: int) -> None:
    architecture, parallel = model("llama-3-8b"), Parallel(tensor=tensor, pipeline=pipeline)
    for quantization in memory.TILES:
        whole = memory.weight_bytes(architecture, quantization, ONE)
        rank = memory.weight_bytes(architecture, quantization, parallel)
        assert whole <= rank * parallel.world_size
        assert rank <= whole


def test_a_table_that_two_pipeline_stages_need_is_on_both() -> None:
    architecture = model("llama-3.2-1b")
    halves = memory.weight_bytes(architecture, "none", Parallel(tensor=1, pipeline=2))
    table = 2 * architecture.embedding_weights
    assert 2 * halves >= memory.weight_bytes(architecture, "none", ONE) + table
