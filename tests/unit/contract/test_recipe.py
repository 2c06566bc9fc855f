from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import ROOT

from slipway.contract.errors import RecipeError
from slipway.contract.recipe import Recipe, RequestedLimits
from slipway.contract.recipe_file import read_recipe
from slipway.contract.target import TARGETS

GOOD = "name: a\ncheckpoint: c\ntarget: onnx-cpu\nquantization: int4\n"
LLMAPI = "name: a\ncheckpoint: c\ntarget: tensorrt-llm-llmapi\nquantization: none\n"


def _refusal(tmp_path: Path, content: str) -> str:
    path = tmp_path / "r.yaml"
    path.write_text(content)
    with pytest.raises(RecipeError) as refused:
        read_recipe(path)
    return str(refused.value)


@pytest.mark.parametrize("path", sorted((ROOT / "engines").glob("*.yaml")), ids=lambda path: path.name)
def test_a_recipe_that_ships_is_named_like_its_file(path: Path) -> None:
    assert read_recipe(path).name == path.stem


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            GOOD + "quantisation: int8\n",
            "r.yaml:5: quantisation: unknown key; allowed here: name, checkpoint",
        ),
        (GOOD.replace("onnx-cpu", "tpu"), "r.yaml:3: target: Input should be 'onnx-cpu'"),
        (
            GOOD.replace("name: a", "name: a/b"),
            "r.yaml:1: name: 'a/b' must be up to 100 letters, digits and ._-, the first of them a letter or",
        ),
        (GOOD + "limits: 4\n", "r.yaml:5: limits: must be a mapping with the keys max_batch_size, max_input"),
        (GOOD + "adapters: a\n", "r.yaml:5: adapters: must be a list, such as [first, second]."),
        (GOOD + "quantization: int8\n", "r.yaml:5: quantization: is there twice; keep one."),
        (GOOD + "chat:\n  stop: [a]\n  stop: [b]\n", "r.yaml:7: chat.stop: is there twice; keep one."),
        (GOOD + "limits:\n  max_batch: 4\n", "r.yaml:6: limits.max_batch: unknown key; allowed here: max_b"),
        (GOOD + "limits:\n  max_seq_len: 0\n", "r.yaml:6: limits.max_seq_len: Input should be greater"),
        (
            GOOD + "limits:\n  max_input_len: 8\n  max_seq_len: 8\n",
            "r.yaml:6: max_input_len 8 must be below max_seq_len 8",
        ),
        (GOOD + "chat:\n  stop: ['']\n", "r.yaml:6: chat.stop.0: "),
        (
            GOOD + "chat:\n  prompt: x\n",
            "r.yaml:6: chat.prompt: unknown key; allowed here: system, stop, max_tokens, tool_calls, temp",
        ),
        (
            GOOD.replace("cpu", "dml").replace("int4", "int8"),
            "quantization int8 is for target onnx-cpu, openvino-cpu, tensorrt-llm; give int4 for onnx-dml.",
        ),
        (
            GOOD.replace("int4", "fp8"),
            "quantization fp8 is for target tensorrt-llm; give int4 or int8 for onnx",
        ),
        (
            GOOD + "dtype: float16\n",
            "r.yaml:5: dtype is for target tensorrt-llm, tensorrt-llm-llmapi; leave it out for onnx-cpu",
        ),
        (GOOD + "calibration: a.txt\n", "calibration is for target tensorrt-llm; leave it out for onnx-cpu"),
        (
            GOOD.replace("onnx-cpu", "tensorrt-llm") + "calibration: a.txt\n",
            "quantization int4 reads no calibration text; leave calibration out, or give int4-awq, int8-sq",
        ),
        (
            GOOD + "parallel:\n  tensor: 2\n",
            "parallel is for target tensorrt-llm, tensorrt-llm-llmapi; leave",
        ),
        (LLMAPI.replace("none", "int8"), "give none for tensorrt-llm-llmapi"),
        (LLMAPI + "kv_cache:\n  quantization: int8\n", "give none or fp8 for tensorrt-llm-llmapi"),
        (LLMAPI + "calibration: a.txt\n", "calibration is for target tensorrt-llm; leave it out for"),
        (GOOD + "limits:\n  max_num_tokens: 9\n", "r.yaml:6: limits.max_num_tokens is for target tensorrt-"),
        (
            GOOD + "kv_cache:\n  quantization: int8\n",
            "int8 is for target tensorrt-llm; give none for onnx-cpu",
        ),
        (
            GOOD.replace("onnx-cpu", "tensorrt-llm") + "parallel:\n  data: 2\n",
            "r.yaml:6: parallel.data: unknown key; allowed here: tensor, pipeline, gpus.",
        ),
        ("name: a\nchat: [", "r.yaml:2 is not YAML: "),
        (GOOD.replace("name: a", "name: 2024-13-45"), "is not YAML: month must be in 1..12; put quotes"),
        ("- a\n", "must be a mapping with the keys name, checkpoint"),
        ("", "must be a mapping"),
    ],
)
def test_a_wrong_recipe_hears_the_line_the_key_and_what_is_allowed(
    tmp_path: Path, content: str, words: str
) -> None:
    assert words in _refusal(tmp_path, content)


def test_every_fault_of_a_recipe_is_named_at_once(tmp_path: Path) -> None:
    message = _refusal(tmp_path, "name: a\ntarget: tpu\n")
    for key in ("checkpoint", "target", "quantization"):
        assert f" {key}: " in message


def test_a_recipe_of_another_encoding_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes("name: 한국어".encode("euc-kr"))
    with pytest.raises(RecipeError, match="it is not UTF-8"):
        read_recipe(tmp_path / "r.yaml")


def test_a_missing_recipe_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml cannot be read: No such file"):
        read_recipe(tmp_path / "none.yaml")


@given(context=st.integers(2, 1_000_000))
def test_default_limits_fit_every_model(context: int) -> None:
    limits = RequestedLimits().fitted(context, TARGETS["onnx-cpu"])
    assert limits.max_input_len < limits.max_seq_len <= min(context, 8192)


def test_fewer_sequences_are_in_flight_where_each_reserves_its_memory() -> None:
    assert RequestedLimits().fitted(2048, TARGETS["onnx-cpu"]).max_batch_size == 16
    assert RequestedLimits().fitted(2048, TARGETS["onnx-dml"]).max_batch_size == 4
    assert RequestedLimits(max_batch_size=9).fitted(2048, TARGETS["onnx-dml"]).max_batch_size == 9


def test_a_context_that_was_asked_for_is_kept() -> None:
    limits = RequestedLimits(max_seq_len=32768).fitted(131072, TARGETS["onnx-cpu"])
    assert (limits.max_input_len, limits.max_seq_len) == (32767, 32768)


def test_more_than_the_model_can_hold_is_refused_with_both_lengths() -> None:
    with pytest.raises(RecipeError, match="max_seq_len 8192 is more than the model's context of 4096"):
        RequestedLimits(max_seq_len=8192).fitted(4096, "onnx-cpu")


def test_a_prompt_limit_above_the_models_context_is_refused() -> None:
    with pytest.raises(RecipeError, match="max_input_len 4096 must be below max_seq_len, which is 2048"):
        RequestedLimits(max_input_len=4096).fitted(2048, "onnx-cpu")


def _trtllm(**fields: object) -> Recipe:
    values = {"name": "a", "checkpoint": "c", "target": "tensorrt-llm", "quantization": "none"}
    return Recipe.model_validate(values | fields)


def test_a_tensorrt_llm_recipe_follows_upstreams_defaults() -> None:
    recipe = _trtllm()
    limits = recipe.limits_for(131072)
    assert (limits.max_batch_size, limits.max_seq_len, limits.max_num_tokens) == (64, 8192, 8192)
    assert recipe.kv_cache.fitted(recipe.target).memory_share == 0.9
    assert _trtllm(limits={"max_batch_size": 9000}).limits_for(4096).max_num_tokens == 9000
    assert _trtllm(limits={"max_batch_size": 1}).limits_for(4096).max_num_tokens == 4096


def test_a_step_that_cannot_hold_a_token_of_every_sequence_is_refused() -> None:
    with pytest.raises(RecipeError, match="max_num_tokens 32 is less than max_batch_size 64"):
        _trtllm(limits={"max_num_tokens": 32}).limits_for(4096)


def test_a_step_of_more_tokens_than_all_sequences_have_is_refused_before_the_build() -> None:
    # trtllm-build lowers it (check_max_num_tokens in tensorrt_llm/_common.py).
    asked = {"max_batch_size": 4, "max_seq_len": 1024, "max_num_tokens": 4097}
    with pytest.raises(RecipeError, match=r"max_num_tokens 4097 is more than .*; give 4096 or less"):
        _trtllm(limits=asked).limits_for(4096)
    assert _trtllm(limits=asked | {"max_num_tokens": 4096}).limits_for(4096).max_num_tokens == 4096


def test_an_int8_kv_cache_reads_prompts_in_one_piece() -> None:
    asked = {"kv_cache": {"quantization": "int8"}, "limits": {"max_num_tokens": 1024}}
    with pytest.raises(RecipeError, match="max_input_len 4095 must not exceed max_num_tokens, which is 1024"):
        _trtllm(**asked).limits_for(4096)
    asked["limits"]["max_input_len"] = 1024
    assert _trtllm(**asked).limits_for(4096).max_input_len == 1024


def test_an_fp8_kv_cache_reads_prompts_in_chunks_beside_fp8_weights_only() -> None:
    asked = {"kv_cache": {"quantization": "fp8"}, "limits": {"max_num_tokens": 1024}}
    assert _trtllm(quantization="fp8", **asked).limits_for(4096).max_input_len == 4095
    with pytest.raises(RecipeError, match=r"kv_cache\.quantization fp8 with quantization none rules out"):
        _trtllm(**asked).limits_for(4096)


def test_an_llmapi_recipe_has_the_fields_of_tensorrt_llm_and_reads_no_text() -> None:
    recipe = _trtllm(
        target="tensorrt-llm-llmapi",
        dtype="float16",
        kv_cache={"quantization": "fp8"},
        parallel={"tensor": 2},
        limits={"max_num_tokens": 1024},
    )
    assert recipe.limits_for(4096).max_input_len == 4095, "prompts are read in chunks"
    assert recipe.kv_cache.fitted(recipe.target).memory_share == 0.9
    assert not recipe.calibrated


@pytest.mark.parametrize("gpus", [[0], [0, 0], [0, 1, 2]])
def test_an_engine_has_as_many_gpus_as_ranks(tmp_path: Path, gpus: list[int]) -> None:
    path = tmp_path / "a.yaml"
    recipe = "name: a\ncheckpoint: c\ntarget: tensorrt-llm\nquantization: none\n"
    path.write_text(f"{recipe}parallel: {{tensor: 2, gpus: {gpus}}}\n")
    with pytest.raises(RecipeError, match=r"must be 2 different ones, tensor times pipeline"):
        read_recipe(path)


def test_a_recipe_may_say_how_the_model_writes_calls(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(GOOD + "chat:\n  tool_calls: hermes\n")
    assert read_recipe(tmp_path / "r.yaml").chat.tool_calls == "hermes"
    assert "'hermes', 'llama3' or 'mistral'" in _refusal(tmp_path, GOOD + "chat:\n  tool_calls: xml\n")


def test_tensorrt_llm_needs_memory_beside_its_cache(tmp_path: Path) -> None:
    whole = "kv_cache: {memory_share: 1}\n"
    compiled = LLMAPI.replace("-llmapi", "")
    assert "kv_cache.memory_share 1 leaves tensorrt-llm no memory" in _refusal(tmp_path, compiled + whole)
    (tmp_path / "cpu.yaml").write_text(GOOD + whole)
    assert read_recipe(tmp_path / "cpu.yaml").kv_cache.memory_share == 1
