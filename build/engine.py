"""Build the engine of a recipe, and the Triton models that serve it."""

import hashlib
import json
import platform
from datetime import UTC, datetime
from pathlib import Path

from build import progress
from build.checkpoint.answer_length import default_max_tokens
from build.checkpoint.checkpoint import Checkpoint
from build.checkpoint.ends import End, find_ends
from build.checkpoint.merge import Merge
from build.destination import Destination
from build.facts import Facts
from build.maker import maker_of
from slipway.contract import manifest
from slipway.contract.errors import BuildError, EngineRefused, InvalidRequest, RecipeError
from slipway.contract.manifest import FileDigest, Manifest
from slipway.contract.recipe import Chat, Recipe
from slipway.contract.recipe_file import read_recipe
from slipway.contract.version import version
from slipway.contract.whole_files import replacing
from slipway.runtime.isolated.template import read_features
from slipway.text.file import read_text
from slipway.text.template import TemplateSource
from slipway.text.tokenizer import Tokenizer
from slipway.triton.repository import write_repository


def build(recipe_file: Path, checkpoint: Path | None, output: Path, repository: Path, force: bool) -> str:
    """Build `output`/NAME unless it is up to date, and write its Triton models; returns a message.

    checkpoint: replaces the recipe's. Raises SlipwayError, and replaces nothing, when the recipe, the
    checkpoint or the result is wrong, or this machine cannot build it.
    """
    recipe = read_recipe(recipe_file)
    words = [str(recipe_file), *(("--checkpoint", str(checkpoint)) if checkpoint else ())]
    facts = maker_of(recipe.target).facts(recipe, words)
    destination = Destination(output / recipe.name)
    with destination.locked():
        base = checkpoint or recipe.checkpoint
        opened = Merge.open(base, recipe.adapters) if recipe.adapters else Checkpoint.open(base)
        planned = _plan(recipe, opened, facts)
        reason = "--force" if force else _reason_to_build(destination.directory, planned)
        if reason is None:
            _update_serving(destination.directory, planned)
            done = f"{destination.directory} is up to date; nothing to build (--force builds it again)."
        else:
            progress.say(f"Building {destination.directory} ({reason}).")
            size = _build(recipe, opened, planned, destination)
            done = f"{destination.directory} is ready: {size / 1e6:.0f} MB, {recipe.quantization}."
        if not recipe.target.on_triton:
            return f"{done}\nIt is served on Windows: slipway gateway --engine {destination.directory}"
        write_repository(destination.directory, repository)
    return f"{done}\nIts Triton models are in {repository}."


def _plan(recipe: Recipe, checkpoint: Checkpoint | Merge, facts: Facts) -> Manifest:
    """The manifest of the engine, without its files."""
    templates = _chat_templates(recipe, checkpoint)
    ends = _ends(recipe, checkpoint)
    limits = recipe.limits_for(checkpoint.architecture.context)
    kv_cache = recipe.kv_cache.fitted(recipe.target)
    settings = {
        **recipe.model_dump(mode="json", include={"name", "target", "quantization"}),
        "kv_cache": kv_cache.model_dump(),
        "limits": limits.model_dump(exclude_none=True),
        "chat": recipe.chat.model_dump(exclude={"template", "max_tokens"}),
        "templates": templates,
        "method": facts.method,
        **facts.settings,
    }
    return Manifest(
        name=recipe.name,
        target=recipe.target,
        quantization=recipe.quantization,
        method=facts.method,
        limits=limits,
        kv_cache=kv_cache,
        chat=_chat(recipe, checkpoint, templates[0]),
        eos_token_ids=tuple(end.token_id for end in ends),
        vocab_size=checkpoint.architecture.vocab_size,
        source=checkpoint.digests(),
        recipe_sha256=hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest(),
        versions={
            "slipway": version(),
            "python": ".".join(platform.python_version_tuple()[:2]),
            **facts.versions,
        },
        requires=facts.requires,
        device=facts.device,
        compute_capability=facts.compute_capability,
        parallel=recipe.parallel,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        files={},
    )


def _reason_to_build(directory: Path, planned: Manifest) -> str | None:
    """How the engine in `directory` differs from the planned one; None if it does not."""
    if not directory.exists():
        return "there is none yet"
    try:
        built = Manifest.read(directory)
        built.verify(directory)
    except EngineRefused as error:
        return str(error).rstrip(".")
    for what, changed in (
        ("the recipe changed", built.recipe_sha256 != planned.recipe_sha256),
        ("the checkpoint changed", built.source != planned.source),
        ("the build environment changed", built.versions != planned.versions),
        ("answers end at other tokens", built.eos_token_ids != planned.eos_token_ids),
        ("the GPU is another", built.compute_capability != planned.compute_capability),
    ):
        if changed:
            return what
    return None


def _update_serving(directory: Path, planned: Manifest) -> None:
    """Write what can change without a build: the GPUs that serve the engine, and how long answers are."""
    built = Manifest.read(directory)
    updated = built.model_copy(update={"parallel": planned.parallel, "chat": planned.chat})
    if updated != built:
        _write(directory, updated)


def _write(directory: Path, finished: Manifest) -> None:
    """Write the manifest, whole or not at all."""
    with replacing(directory / manifest.FILE_NAME) as file:
        file.write(finished.model_dump_json(indent=2).encode())


def _build(recipe: Recipe, opened: Checkpoint | Merge, planned: Manifest, destination: Destination) -> int:
    """Build and check the engine and put it in place; returns its size in bytes."""
    maker = maker_of(recipe.target)
    for end in _ends(recipe, opened):
        if end.only_shown:
            progress.say(
                f"Answers also end at {end.text} ({end.token_id}): it ends a turn in the chat template, and "
                "no file names it."
            )
    with destination.workplace() as work:
        checkpoint = opened.write(work / "checkpoint") if isinstance(opened, Merge) else opened
        engine = work / "engine"
        engine.mkdir()
        checkpoint.tokenizer.write(engine, *_chat_templates(recipe, checkpoint))
        _check_template(engine, recipe)
        maker.make(recipe, checkpoint, planned, work, engine, destination.log)
        files = {path.name: FileDigest.of(path) for path in sorted(engine.iterdir())}
        _write(engine, planned.model_copy(update={"files": files}))
        maker.try_out(engine)
        destination.put(engine)
    return sum(file.size for file in files.values())


def _chat_templates(recipe: Recipe, checkpoint: Checkpoint | Merge) -> tuple[str | None, str | None]:
    """The chat template, and the one for conversations with tools; a recipe's replaces both."""
    if recipe.chat.template is None:
        return checkpoint.tokenizer.chat_template, checkpoint.tokenizer.tool_template
    try:
        return read_text(recipe.chat.template), None
    except InvalidRequest as error:
        raise RecipeError(f"chat.template {error}") from None


def _chat(recipe: Recipe, checkpoint: Checkpoint | Merge, template: str | None) -> Chat:
    """How the engine is talked to. template: the chat template."""
    given = recipe.chat.model_dump(exclude={"template"})
    length = recipe.chat.max_tokens or default_max_tokens(checkpoint.directory, template)
    return Chat(**given | {"max_tokens": length})


def _ends(recipe: Recipe, checkpoint: Checkpoint | Merge) -> tuple[End, ...]:
    """The ends of sequence, by the recipe's template and stop strings too."""
    try:
        return find_ends(
            checkpoint.directory,
            checkpoint.architecture.vocab_size,
            checkpoint.tokenizer,
            _chat_templates(recipe, checkpoint),
            recipe.chat.stop,
        )
    except InvalidRequest as error:
        raise RecipeError(str(error)) from None


def _check_template(engine: Path, recipe: Recipe) -> None:
    try:
        source = TemplateSource.read(engine, Tokenizer.load(engine).special_tokens)
        read_features(source, recipe.chat.tool_calls)
    except EngineRefused as error:
        raise BuildError(
            f"{error} Correct it in the checkpoint, or give chat.template in the recipe."
        ) from None
