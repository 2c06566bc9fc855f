"""The commands against trtllm-build's own options.

tests/golden/trtllm_build_options.json has the names, kinds, choices and defaults of all options that
tensorrt_llm/commands/build.py and tensorrt_llm/plugin/plugin.py give trtllm-build in 1.2.
"""

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from support.command import called
from support.paths import ROOT

from build.__main__ import app
from build.checkpoint.architecture import Architecture
from build.trtllm import engine as trtllm_engine
from build.trtllm.dry_run import script
from build.trtllm.options import IMAGE, TrtllmBuild
from slipway.contract.errors import BuildError, RecipeError
from slipway.contract.recipe import Recipe
from slipway.contract.recipe_file import read_recipe

GOLDEN = ROOT / "tests" / "golden"
OPTIONS: dict[str, dict[str, Any]] = json.loads((GOLDEN / "trtllm_build_options.json").read_text())
MODELS = {path.stem: Architecture.read(path) for path in (ROOT / "tests" / "configs").glob("*.json")}
RECIPES = {
    "llama-3.2-1b": "llama-3.2-1b",
    "llama-3.2-3b-int4": "llama-3.2-3b",
    "llama-3-8b-persona": "llama-3-8b",
    "deepseek-coder-1.3b": "deepseek-coder-1.3b",
    "llama-2-7b-chat": "llama-2-7b-chat",
}


def _script(name: str) -> str:
    recipe = read_recipe(ROOT / "engines" / f"{name}.yaml")
    return script(recipe, MODELS[RECIPES[name]], recipe.checkpoint, Path("engines"))


def _recipe(**fields: Any) -> Recipe:
    values = {"name": "mine", "checkpoint": "c", "target": "tensorrt-llm", "quantization": "none"}
    return Recipe.model_validate(values | fields)


def _made(model: str = "llama-3-8b", **fields: Any) -> TrtllmBuild:
    return TrtllmBuild.of(_recipe(**fields), MODELS[model], ROOT, ROOT)


def _upstream() -> argparse.ArgumentParser:
    """A parser with the options of trtllm-build."""
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    for name, option in OPTIONS.items():
        if option["type"] == "flag":
            parser.add_argument(f"--{name}", action="store_true")
        else:
            kind = int if option["type"] == "int" else str
            parser.add_argument(
                f"--{name}", type=kind, choices=option.get("choices"), default=option["default"]
            )
    return parser


def test_the_commands_of_the_cases_are_the_golden_ones() -> None:
    made = "".join(f"## {name}\n{_script(name)}\n" for name in RECIPES)
    assert made == (GOLDEN / "trtllm_commands.txt").read_text()


@pytest.mark.parametrize("name", RECIPES)
def test_trtllm_build_takes_every_option_and_value(name: str) -> None:
    program, *words = shlex.split(_script(name).splitlines()[-1])
    assert program == "trtllm-build"
    taken = _upstream().parse_args(words)
    assert (taken.kv_cache_type, taken.remove_input_padding, taken.context_fmha) == (
        "paged",
        "enable",
        "enable",
    )
    assert taken.use_paged_context_fmha == "enable"


@pytest.mark.parametrize("name", RECIPES)
def test_our_own_convert_takes_the_other_command(name: str) -> None:
    *interpreter, command = shlex.split(_script(name).splitlines()[1])[:4]
    assert interpreter == ["python", "-m", "build"]
    words = shlex.split(_script(name).splitlines()[1])[4:]
    context = typer.main.get_command(app).commands[command].make_context(command, list(words))
    recipe = read_recipe(ROOT / "engines" / f"{name}.yaml")
    assert context.params["quantization"] == recipe.quantization
    assert context.params["dtype"] == recipe.dtype
    assert str(context.params["output"]) == f"trtllm/{name}"


@pytest.mark.parametrize(
    ("quantization", "cache"),
    [("int4-awq", "none"), ("int8-sq", "int8"), ("fp8", "fp8"), ("none", "fp8"), ("int8", "int8")],
)
def test_what_needs_a_calibration_reaches_the_convert_command(quantization: str, cache: str) -> None:
    values = {"name": "a", "checkpoint": "c", "target": "tensorrt-llm", "quantization": quantization}
    limits = {"max_input_len": 4000, "max_num_tokens": 4096}
    values |= {"kv_cache": {"quantization": cache}, "limits": limits, "calibration": "my chats.txt"}
    recipe = Recipe.model_validate(values)
    text = script(recipe, MODELS["llama-3-8b"], recipe.checkpoint, ROOT)
    assert "make setup-modelopt" in text.splitlines()[0]
    words = shlex.split(text.splitlines()[1])[4:]
    context = typer.main.get_command(app).commands["convert"].make_context("convert", words)
    assert (context.params["quantization"], context.params["kv_cache"]) == (quantization, cache)
    assert context.params["text"] == Path("my chats.txt")


def test_another_calibration_text_makes_a_build_due(tmp_path: Path) -> None:
    text = tmp_path / "chats.txt"
    text.write_text("hello")
    calibrated = _recipe(quantization="fp8", calibration=text)
    before = trtllm_engine.settings(calibrated)
    assert trtllm_engine.settings(calibrated) == before
    text.write_text("hello again")
    assert trtllm_engine.settings(calibrated) != before


def test_ranks_are_built_at_once() -> None:
    assert _made(parallel={"tensor": 2, "pipeline": 4}).workers == 8


def test_an_output_layer_that_is_the_embedding_is_held_once() -> None:
    assert _made("llama-3.2-1b").gemm_plugin == "disable"
    assert _made("llama-3-8b").gemm_plugin == "auto"


def test_the_container_is_the_one_that_serves() -> None:
    assert f"ARG BASE={IMAGE}\n" in (ROOT / "docker" / "triton.Dockerfile").read_text()


def test_names_with_blanks_are_quoted() -> None:
    recipe = Recipe.model_validate(
        {"name": "a", "checkpoint": "my models/a", "target": "tensorrt-llm", "quantization": "none"}
    )
    text = script(recipe, MODELS["llama-3-8b"], recipe.checkpoint, ROOT / "my engines")
    assert "convert 'my models/a' trtllm/a " in text
    assert f"--output_dir '{ROOT}/my engines/a'" in text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"target": "onnx-cpu", "quantization": "int4"},
            "--dry-run shows the commands of target tensorrt-llm",
        ),
        ({"parallel": {"tensor": 3}}, "A tensor parallelism of 3 does not suit"),
    ],
)
def test_what_no_command_makes_is_refused(fields: dict[str, Any], words: str) -> None:
    values = {"name": "a", "checkpoint": "c", "target": "tensorrt-llm", "quantization": "none"}
    recipe = Recipe.model_validate(values | fields)
    with pytest.raises((RecipeError, BuildError), match=words):
        script(recipe, MODELS["llama-3-8b"], recipe.checkpoint, ROOT)


def test_the_command_prints_them_and_touches_nothing() -> None:
    command = ("engine", "engines/llama-2-7b-chat.yaml")
    config = ("--config", "tests/configs/llama-2-7b-chat.json")
    ran = called(app, *command, "--dry-run", *config)
    assert ran.exit_code == 0, ran.stderr
    assert f"## llama-2-7b-chat\n{ran.stdout}" in (GOLDEN / "trtllm_commands.txt").read_text()
    assert not (ROOT / "engines" / "llama-2-7b-chat").exists()
    ran = called(app, *command, "--dry-run")
    assert "checkpoints/llama-2-7b-chat/config.json is not there; give --config" in ran.stderr
    ran = called(app, *command, *config)
    assert (ran.exit_code, "--config is for --dry-run" in ran.stderr) == (1, True)
