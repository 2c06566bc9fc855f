"""The options of the commands for TensorRT-LLM: `convert`, `plan`, `gpu-check`."""

from pathlib import Path
from typing import Annotated

import typer

from build.command_errors import report_errors
from slipway.contract.errors import RecipeError
from slipway.contract.quantization import CacheQuantization, Quantization
from slipway.contract.recipe import Dtype


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="The merged checkpoint, as save_pretrained writes it.")],
    output: Annotated[Path, typer.Argument(help="Folder to write.")],
    quantization: Annotated[
        Quantization,
        typer.Option(
            help="Of the projections. trtllm-build makes int8 (W8A16) and int4 (W4A16); int4-awq, int8-sq "
            "(SmoothQuant) and fp8 are calibrated here."
        ),
    ] = "none",
    kv_cache: Annotated[
        CacheQuantization,
        typer.Option(help="Of keys and values, with any --quantization; it is calibrated too."),
    ] = "none",
    dtype: Annotated[
        Dtype | None,
        typer.Option(help="Of unquantized weights. [default: the checkpoint's; fp32 becomes bfloat16]"),
    ] = None,
    tensor_parallel: Annotated[int, typer.Option(min=1, help="GPUs that share each matrix.")] = 1,
    pipeline_parallel: Annotated[
        int, typer.Option(min=1, help="GPUs, or groups of GPUs, that share the layers.")
    ] = 1,
    text: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            help="A UTF-8 text like what the model will read, such as your training chats; 30,000 tokens are "
            "enough. [default: build/calibration.txt, half a page of everything]",
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="Pieces of the text to read. [default: all of it, at most 128]"),
    ] = None,
    sample_tokens: Annotated[int, typer.Option(min=2, help="Length of each piece.")] = 256,
    seed: Annotated[int, typer.Option(help="Chooses the pieces, when the text has more.")] = 0,
) -> None:
    """Write a checkpoint for `trtllm-build` of TensorRT-LLM 1.2.1: config.json and a file for each GPU.

    none, int8 and int4 need no GPU and little memory, for a model of any size: the weights are written
    unquantized, and trtllm-build quantizes them for the GPU it runs on. int4-awq, int8-sq, fp8 and a
    quantized KV cache are calibrated first, with NVIDIA's modelopt (`make setup-modelopt`), which holds the
    whole model in memory. The calibration is kept in .cache/calibrated and used again for other numbers of
    GPUs.

    Everything is checked before anything is calibrated or written. A checkpoint that was converted before is
    replaced only when the new one is complete.

    - `python -m build convert checkpoints/my-model trtllm/my-model` for one GPU
    - `... --tensor-parallel 2` for two GPUs that share each matrix
    - `... --quantization fp8 --calibration my-chats.txt`
    """
    from build.trtllm import convert as conversion
    from build.trtllm.calibration import DEFAULT_TEXT, CalibrationText, needs_calibration
    from slipway.contract.recipe import Parallel

    with report_errors():
        if (text or samples) and not needs_calibration(quantization, kv_cache):
            raise RecipeError(
                f"--calibration and --samples are for int4-awq, int8-sq, fp8 and --kv-cache; {quantization} "
                "reads no text: leave them out."
            )
        parallel = Parallel(tensor=tensor_parallel, pipeline=pipeline_parallel)
        calibration = CalibrationText(text or DEFAULT_TEXT, samples, sample_tokens, seed)
        print(conversion.convert(checkpoint, output, quantization, dtype, parallel, kv_cache, calibration))


def plan(
    recipe: Annotated[Path, typer.Argument(help="A recipe with target tensorrt-llm.")],
    gpu: Annotated[str | None, typer.Option(help="The GPU, such as 4050, 'RTX 4090' or H200.")] = None,
    gpu_memory: Annotated[
        str | None, typer.Option(help="Memory of an unknown GPU, or free memory of a known one, such as 6GB.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="The model's config.json, if the checkpoint is not here yet.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, sizes in bytes.")] = False,
) -> None:
    """Tell whether a TensorRT-LLM engine fits a GPU: weights, KV cache, number and length of sequences.

    It takes a second and no GPU, and reads only config.json of the checkpoint. When the engine does not fit,
    the reason is one sentence on stderr, the exit status is 1, and a recipe that fits is printed.

    - `python -m build plan engines/llama-3.2-1b.yaml --config tests/configs/llama-3.2-1b.json --gpu 4050`
    - `... --gpu-memory 5.5GB` is what a desktop leaves free
    """
    import json

    from rich.console import Console

    from build.checkpoint.architecture import Architecture
    from build.trtllm import plan as planning
    from build.trtllm import plan_page
    from build.trtllm.gpu import chosen
    from slipway.contract.recipe_file import read_recipe

    with report_errors():
        wanted = read_recipe(recipe)
        device = chosen(gpu, gpu_memory)
        made = planning.make(wanted, Architecture.find(wanted.checkpoint, config), device)
        if as_json:
            print(json.dumps(plan_page.as_json(made), indent=2))
        else:
            plan_page.show(made, Console())
        if made.refusal:
            raise RecipeError(made.refusal)


def gpu_check(
    recipe: Annotated[
        list[Path] | None,
        typer.Option(help="A recipe to build and check. [default: the sample model in bf16, int8 and int4]"),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of each answer that are compared.")] = 64,
    duration: Annotated[float, typer.Option(min=0.1, help="Seconds to measure each engine.")] = 30.0,
    url: Annotated[
        str, typer.Option(help="Address at which compose publishes the gateway.")
    ] = "http://127.0.0.1:9000",
    ready_within: Annotated[
        float, typer.Option(min=1, help="Seconds that the servers may take to load.")
    ] = 600.0,
    report: Annotated[Path, typer.Option(help="The page to write.")] = Path("docs/gpu-check.md"),
) -> None:
    """Build TensorRT-LLM engines on this machine's GPU, serve them, compare, measure and report.

    It needs an NVIDIA GPU, Docker and NVIDIA's container toolkit; without them it says so, with exit status
    1. Greedy answers are compared with those of transformers with the same checkpoint.
    """
    from build.trtllm import gpu_check as checking

    with report_errors():
        print(checking.check(recipe or checking.RECIPES, max_tokens, duration, url, ready_within, report))
