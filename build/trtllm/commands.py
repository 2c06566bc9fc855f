"""The commands of `python -m build` for TensorRT-LLM alone: `convert`, `plan`, `gpu-check`."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from build.one_sentence import one_sentence
from slipway.contract.errors import RecipeError


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="The merged checkpoint that save_pretrained wrote.")],
    output: Annotated[Path, typer.Argument(help="Folder to write.")],
    quantization: Annotated[
        Literal["none", "int8", "int4", "int4-awq", "int8-sq", "fp8"],
        typer.Option(
            help="Of the projections: int8 (W8A16) and int4 (W4A16) are made by trtllm-build, int4-awq, "
            "int8-sq (SmoothQuant) and fp8 are calibrated here."
        ),
    ] = "none",
    kv_cache: Annotated[
        Literal["none", "int8", "fp8"],
        typer.Option(help="Of keys and values, with any --quantization; calibrated too."),
    ] = "none",
    dtype: Annotated[
        Literal["bfloat16", "float16"] | None,
        typer.Option(help="Of what is not quantised. [default: the checkpoint's; fp32 becomes bfloat16]"),
    ] = None,
    tensor_parallel: Annotated[int, typer.Option(min=1, help="GPUs that share each matrix.")] = 1,
    pipeline_parallel: Annotated[
        int, typer.Option(min=1, help="GPUs, or groups, that share the layers.")
    ] = 1,
    text: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            help="A UTF-8 text like what the model will read, say your training chats; some 30,000 tokens "
            "are plenty. [default: build/calibration.txt, half a page of everything]",
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="Pieces of the text to read. [default: all that it holds, at most 128]"),
    ] = None,
    sample_tokens: Annotated[int, typer.Option(min=2, help="Length of each piece.")] = 256,
    seed: Annotated[int, typer.Option(help="Which pieces are drawn, where the text holds more.")] = 0,
) -> None:
    """Write a checkpoint for `trtllm-build` of TensorRT-LLM 1.2.1: config.json and a file for each GPU.

    none, int8 and int4 need no GPU and little memory, whatever the model's size: the weights are written
    unquantised, and trtllm-build quantises them for the GPU it runs on. int4-awq, int8-sq, fp8 and a
    quantised KV cache are calibrated first, by NVIDIA's modelopt (`make setup-modelopt`): it holds the whole
    model in memory and reads a text with it. Its result is kept in .cache/calibrated, and other ranks of the
    same start from there.

    What cannot be shared or quantised is refused before anything is written or calibrated; a checkpoint
    converted before takes its place only when this one is whole.

    - `python -m build convert checkpoints/my-model trtllm/my-model` for one GPU
    - `... --tensor-parallel 2` for two that share each matrix
    - `... --quantization fp8 --calibration my-chats.txt`
    """
    from build.trtllm import convert as conversion
    from build.trtllm.calibration import DEFAULT_TEXT, Calibration, needed
    from build.trtllm.mapping import Mapping

    with one_sentence():
        if (text or samples) and not needed(quantization, kv_cache):
            raise RecipeError(
                f"--calibration and --samples are for int4-awq, int8-sq, fp8 and --kv-cache; {quantization} "
                "reads no text: leave them out."
            )
        mapping = Mapping(tensor_parallel, pipeline_parallel)
        calibration = Calibration(text or DEFAULT_TEXT, samples, sample_tokens, seed)
        print(conversion.convert(checkpoint, output, quantization, dtype, mapping, kv_cache, calibration))


def plan(
    recipe: Annotated[Path, typer.Argument(help="A recipe with target tensorrt-llm.")],
    gpu: Annotated[str | None, typer.Option(help="The GPU, such as 4050, 'RTX 4090' or H200.")] = None,
    gpu_memory: Annotated[
        str | None, typer.Option(help="Memory of a GPU that is not known, or what is free on it: 6GB.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="The model's config.json, when the checkpoint is not here yet.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, sizes in bytes.")] = False,
) -> None:
    """Say whether a TensorRT-LLM engine fits a GPU: weights, KV cache, how many sequences of which length.

    Takes a second and no GPU: of the checkpoint only config.json is read. When the engine cannot be, the
    reason is one sentence on stderr with the numbers, the exit status is 1, and a recipe that fits is shown.

    - `python -m build plan engines/llama-3.2-1b.yaml --config tests/configs/llama-3.2-1b.json --gpu 4050`
    - `... --gpu-memory 5.5GB` is what a desktop leaves free
    """
    import json

    from build.checkpoint.architecture import Architecture
    from build.trtllm import plan as engine_plan
    from build.trtllm import plan_page
    from build.trtllm.gpu import chosen
    from slipway.contract.recipe_file import read_recipe

    with one_sentence():
        wanted = read_recipe(recipe)
        device = chosen(gpu, gpu_memory)
        made = engine_plan.make(wanted, Architecture.of(wanted.checkpoint, config), device)
        if as_json:
            print(json.dumps(plan_page.as_json(made), indent=2))
        else:
            plan_page.show(made, Console())
        if made.refusal:
            raise RecipeError(made.refusal)


def gpu_check(
    recipe: Annotated[
        list[Path] | None,
        typer.Option(help="What to build and check. [default: the sample model in bf16, int8 and int4]"),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of each answer that is compared.")] = 64,
    duration: Annotated[float, typer.Option(min=0.1, help="Seconds to measure each engine.")] = 30.0,
    url: Annotated[str, typer.Option(help="Where compose publishes the gateway.")] = "http://127.0.0.1:9000",
    ready_within: Annotated[
        float, typer.Option(min=1, help="Seconds that the servers may take to load.")
    ] = 600.0,
    report: Annotated[Path, typer.Option(help="The page to write.")] = Path("docs/gpu-check.md"),
) -> None:
    """Build TensorRT-LLM engines on this machine's GPU, serve them, compare, measure and report.

    Takes an NVIDIA GPU, Docker and NVIDIA's container toolkit; without them it says so, with exit status 1.
    Greedy answers are held against transformers with the same checkpoint.
    """
    from build.trtllm import gpu_check as checking

    with one_sentence():
        print(checking.check(recipe or checking.RECIPES, max_tokens, duration, url, ready_within, report))
