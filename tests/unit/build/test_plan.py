import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command import called
from support.paths import ROOT

from build.__main__ import app
from build.checkpoint.architecture import Architecture
from build.trtllm import gpu, plan, plan_page
from slipway.contract.errors import BuildError, RecipeError
from slipway.contract.recipe import Recipe
from slipway.contract.recipe_file import read_recipe

CONFIGS = ROOT / "tests" / "configs"
MODELS = {path.stem: Architecture.read(path) for path in CONFIGS.glob("*.json")}
CASES = [
    ("llama-3.2-1b", "llama-3.2-1b", "4050", 8192, 6),
    ("llama-3.2-3b-int4", "llama-3.2-3b", "4050", 8192, 2),
    ("llama-3-8b-persona", "llama-3-8b", "L4", 8192, 9),
    ("deepseek-coder-1.3b", "deepseek-coder-1.3b", "4050", 1024, 7),
    ("llama-2-7b-chat", "llama-2-7b-chat", "A100 40GB", 4096, 10),
]
GUIDE = (ROOT / "docs" / "guides" / "gpu.md").read_text()
COMMANDS = re.findall(r"python -m (build (?:plan|engine) engines/.*?)(?:`|\n)", GUIDE)
# The table of cases has the options of `build plan` alone.
COMMANDS += [f"build plan {options}" for options in re.findall(r"\| `(engines/.*? --gpu .*?)` \|", GUIDE)]


def recipe(**fields: Any) -> Recipe:
    values = {"name": "mine", "checkpoint": "c", "target": "tensorrt-llm", "quantization": "none"}
    return Recipe.model_validate(values | fields)


@pytest.mark.parametrize(("name", "model", "card", "length", "count"), CASES)
def test_the_recipes_that_ship_fit_the_gpus_they_are_for(
    name: str, model: str, card: str, length: int, count: int
) -> None:
    made = plan.make(read_recipe(ROOT / "engines" / f"{name}.yaml"), MODELS[model], gpu.find(card))
    assert made.refusal is None
    assert made.chosen.sequences(length) == count


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_guide_works(command: str) -> None:
    room, *words = shlex.split(command)
    assert room == "build"
    assert called(app, *words).exit_code == 0


def test_the_guide_walks_every_case() -> None:
    assert [name for name, *_ in CASES if not any(f"/{name}.yaml" in line for line in COMMANDS)] == []


def test_16_bits_of_a_3b_model_do_not_fit_6_gb_and_the_sentence_says_why_and_what_does() -> None:
    made = plan.make(recipe(), MODELS["llama-3.2-3b"], gpu.find("4050"))
    assert made.refusal is not None
    for words in ("RTX 4050 Laptop 6GB", "(none) take 6.05 GiB", "2.06 GiB too much", "quantization int4"):
        assert words in made.refusal
    assert made.suggestion is not None
    assert (made.suggestion.quantization, made.suggestion.limits.max_num_tokens) == ("int4", 4096)


def test_a_share_below_what_may_go_to_transfer_buffers_is_refused_by_its_name() -> None:
    asked = recipe(kv_cache={"memory_share": 0.1})
    refusal = plan.make(asked, MODELS["llama-3.2-1b"], gpu.find("4050")).refusal
    assert refusal is not None
    assert "kv_cache.memory_share 0.1 of that is less than the 1.00 GiB that TensorRT-LLM may" in refusal
    assert plan.make(asked, MODELS["llama-3.2-1b"], gpu.find("A100 40GB")).refusal is None


def test_a_suggestion_keeps_what_it_need_not_change() -> None:
    asked = recipe(chat={"system": "너는 선비다."}, limits={"max_seq_len": 4096, "max_input_len": 4000})
    suggested = plan.make(asked, MODELS["llama-2-7b-chat"], gpu.find("4050")).suggestion
    assert suggested is not None
    assert suggested.chat == asked.chat
    limits = suggested.limits_for(4096)
    assert limits.max_input_len < limits.max_seq_len < 4096


def test_more_gpus_are_the_last_resort() -> None:
    suggested = plan.make(recipe(), MODELS["llama-3-8b"], gpu.find("3050")).suggestion
    assert suggested is not None
    assert (suggested.parallel.tensor, suggested.quantization) == (4, "int4")


def test_what_no_recipe_can_do_names_the_memory_it_takes() -> None:
    made = plan.make(recipe(), MODELS["llama-3-8b"], gpu.Gpu("tiny", 1 << 30, None))
    assert made.suggestion is None
    assert made.refusal is not None
    assert made.refusal.endswith("parallel.tensor 8 needs GPUs of 2.46 GiB.")


def test_a_quantization_without_kernels_is_refused_with_one_that_has_them() -> None:
    made = plan.make(recipe(quantization="fp8"), MODELS["llama-3-8b"], gpu.find("A100 80GB"))
    assert made.refusal is not None
    assert "fp8 needs compute capability 8.9 or newer, and A100 80GB has 8.0" in made.refusal
    assert made.suggestion is not None
    assert made.suggestion.quantization == "none"
    blackwell = plan.make(recipe(quantization="int8"), MODELS["llama-3-8b"], gpu.find("B200"))
    assert "TensorRT-LLM 1.2.1 has no int8 for compute capability 10.0" in (blackwell.refusal or "")
    assert blackwell.suggestion == recipe(
        limits={"max_batch_size": 64, "max_seq_len": 8192, "max_num_tokens": 8192}
    )
    cache = recipe(kv_cache={"quantization": "int8"})
    cached = plan.make(cache, MODELS["llama-3-8b"], gpu.find("B200"))
    assert "has no KV cache in int8 for compute capability 10.0" in (cached.refusal or "")
    assert "fits, with kv_cache.quantization none, and holds" in (cached.refusal or "")
    assert plan.make(cache, MODELS["llama-3-8b"], gpu.find("RTX 5090")).refusal is None
    old = plan.make(recipe(), MODELS["llama-3-8b"], gpu.find("T4"))
    assert old.refusal is not None
    assert old.refusal.endswith("take a newer GPU.")


def test_matrices_that_weight_only_kernels_cannot_cut_are_refused() -> None:
    # 11008 / 128 heads of tensor parallelism 4 is 2752, no multiple of 128, AWQ's group.
    asked = recipe(quantization="int4-awq", parallel={"tensor": 4})
    made = plan.make(asked, MODELS["llama-2-7b-chat"], gpu.find("H200"))
    assert made.refusal
    assert "int4-awq needs matrices whose outputs are multiples of 64 and inputs of 128" in made.refusal


def test_a_form_that_the_model_cannot_have_is_shown_as_none() -> None:
    # Its matrices have 576 inputs, which is no multiple of 128.
    small = replace(MODELS["llama-3.2-1b"], hidden_size=576, heads=9, kv_heads=3, intermediate_size=1536)
    made = plan.make(recipe(), small, gpu.find("4050"))
    budgets = {budget["quantization"]: budget for budget in plan_page.as_json(made)["budgets"]}
    assert "int4-awq needs matrices" in budgets["int4-awq"]["obstacle"]
    assert budgets["int4"]["obstacle"] is None


def test_heads_that_no_kernel_has_are_refused_whatever_the_gpu() -> None:
    odd = replace(MODELS["llama-2-7b-chat"], hidden_size=3200, head_dim=100)
    made = plan.make(recipe(), odd, gpu.find("H200"))
    assert made.suggestion is None
    assert made.refusal is not None
    assert (
        "its heads have 100 dimensions, and TensorRT-LLM's attention has kernels for 32, 48" in made.refusal
    )
    assert made.refusal.endswith("no recipe changes that.")


def test_a_model_that_cannot_be_shared_so_is_refused() -> None:
    with pytest.raises(BuildError, match="32 attention heads cannot be divided evenly among 3 ranks"):
        plan.make(recipe(parallel={"tensor": 3}), MODELS["llama-3-8b"], gpu.find("H200"))


def test_a_recipe_for_onnx_is_sent_to_inspect() -> None:
    with pytest.raises(RecipeError, match=r"for target onnx-cpu; a plan is for tensorrt-llm.*build inspect"):
        plan.make(recipe(target="onnx-cpu", quantization="int4"), MODELS["llama-3-8b"], gpu.find("H200"))


@settings(max_examples=40)
@given(
    name=st.sampled_from(sorted(MODELS)),
    size=st.integers(2, 40),
    form=st.sampled_from(["none", "int8", "int4", "int4-awq", "int8-sq", "fp8"]),
    length=st.integers(2, 4096),
)
def test_every_suggestion_fits_when_it_is_planned_itself(
    name: str, size: int, form: str, length: int
) -> None:
    card = gpu.Gpu("any", size << 30, (8, 6))
    asked = recipe(quantization=form, limits={"max_seq_len": length})
    made = plan.make(asked, MODELS[name], card)
    assert (made.refusal is None) == plan.fits(asked, MODELS[name], card)
    if made.suggestion:
        again = plan.make(made.suggestion, MODELS[name], card)
        assert again.refusal is None
        assert again.chosen.weights + again.chosen.activations < again.chosen.visible


@given(free=st.integers(0, 1 << 36), length=st.integers(1, 8192))
def test_the_sequences_that_fit_take_no_more_than_their_share(free: int, length: int) -> None:
    per_token = 131072
    budget = plan.Budget("none", None, free, 0, 0, 0, 0, 0, per_token, 0.9)
    assert budget.sequences(length) * length * per_token <= 0.9 * free
    assert budget.kv_tokens % 32 == 0


def test_the_command_shows_the_plan_and_the_recipe_that_fits(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\ncheckpoint: c\ntarget: tensorrt-llm\nquantization: none\n")
    config = str(CONFIGS / "llama-3.2-3b.json")
    ran = called(app, "plan", str(path), "--config", config, "--gpu", "4050")
    assert ran.exit_code == 1
    assert len(ran.stderr.splitlines()) == 1
    assert "about" in ran.stdout
    suggested = tmp_path / "fits.yaml"
    suggested.write_text(ran.stdout.split("a recipe that fits\n")[1])
    again = called(app, "plan", str(suggested), "--config", config, "--gpu", "4050", "--json")
    assert again.exit_code == 0, again.stderr
    answer = json.loads(again.stdout)
    assert answer["fits"]
    assert answer["gpu"]["capability"] == "8.9"
    assert answer["quantization"] == yaml.safe_load(suggested.read_text())["quantization"] == "int4"
    assert [item["quantization"] for item in answer["budgets"]][:3] == ["none", "int8", "int4"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Which GPU? Give --gpu with its name"),
        (("--gpu", "4050"), "llama-2-7b-chat/config.json is not there; give --config"),
        (("--gpu-memory", "lots"), "--gpu-memory 'lots' is not a size"),
    ],
)
def test_the_command_says_what_it_needs(arguments: tuple[str, ...], words: str) -> None:
    ran = called(app, "plan", "engines/llama-2-7b-chat.yaml", *arguments)
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert words in ran.stderr
