"""An engine for TensorRT-LLM: converted, compiled by trtllm-build, and checked.

trtllm-build is in NVIDIA's container and compiles for the GPU it runs on, so the build runs there:
`docker compose run build`.
"""

import shlex
import shutil
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from build import progress
from build.checkpoint import json_file
from build.checkpoint.architecture import Architecture
from build.checkpoint.checkpoint import Checkpoint
from build.destination import check_disk_space
from build.facts import Facts
from build.trtllm import compiler, container, memory, plan
from build.trtllm.calibration import DEFAULT_TEXT, CalibrationText
from build.trtllm.config import ALGORITHMS
from build.trtllm.convert import convert
from build.trtllm.gpu import Gpu
from build.trtllm.options import IMAGE, PROGRAM, TrtllmBuild
from slipway.contract import gpus
from slipway.contract.errors import BuildError, CheckpointError
from slipway.contract.gpus import InstalledGpu
from slipway.contract.manifest import FileDigest, Manifest, open_engine
from slipway.contract.quantization import CALIBRATED, Quantization
from slipway.contract.recipe import Limits, Recipe
from slipway.text import template, tokenizer_info
from slipway.text.tokenizer import Tokenizer

LIBRARY = "tensorrt_llm"
# The versions that read the checkpoints of `convert`.
_VERSIONS = SpecifierSet("==1.2.*")
_CONFIG = "config.json"


def facts(recipe: Recipe, words: Sequence[str]) -> Facts:
    """Raises SlipwayError unless trtllm-build, its library and a GPU that suits the recipe are here."""
    _check_program(recipe, words)
    version = _version()
    device = _device()
    obstacle = _gpu(device).obstacle(recipe.quantization, recipe.kv_cache.quantization)
    if obstacle:
        raise BuildError(f"{obstacle}; take another GPU, or another quantization for it.")
    algorithm = ALGORITHMS[recipe.quantization]
    quantizer = "modelopt" if recipe.quantization in CALIBRATED else PROGRAM
    return Facts(
        method=f"{algorithm} by {quantizer}" if algorithm else "unquantized",
        versions={LIBRARY: version},
        # An engine runs only with the version that compiled it.
        requires={LIBRARY: f"=={version}"},
        device=recipe.target.device,
        compute_capability=device.capability,
        settings=settings(recipe),
    )


def settings(recipe: Recipe) -> dict[str, Any]:
    """What decides how the engine turns out, beside the settings that every target has."""
    text = recipe.calibration or DEFAULT_TEXT
    return {
        # parallel.gpus is left out: the GPUs that serve can change without a new build.
        **recipe.model_dump(mode="json", include={"dtype": True, "parallel": {"tensor", "pipeline"}}),
        "kv_cache_quantization": recipe.kv_cache.quantization,
        "calibration": FileDigest.of(text).sha256 if recipe.calibrated else None,
    }


def make(
    recipe: Recipe, checkpoint: Checkpoint, planned: Manifest, work: Path, engine: Path, log: Path
) -> None:
    """Convert, compile and check."""
    if not (engine / template.FILE_NAME).is_file():
        raise CheckpointError(
            f"{checkpoint.directory} has no chat template, and the engine would have none; give a Jinja file "
            "as chat.template in the recipe (the model it was trained from has one in tokenizer_config.json)."
        )
    converted, compiled = work.resolve() / "checkpoint", work.resolve() / "compiled"
    options = TrtllmBuild.of(recipe, checkpoint.architecture, converted, compiled)
    _warn(recipe, checkpoint.architecture)
    size = _disk_bytes(recipe, checkpoint.architecture)
    check_disk_space(work, size, "engine with its converted checkpoint")
    convert(
        checkpoint.directory,
        converted,
        recipe.quantization,
        recipe.dtype,
        recipe.parallel,
        recipe.kv_cache.quantization,
        CalibrationText(recipe.calibration or DEFAULT_TEXT),
    )
    # It runs in `work`, because trtllm-build leaves its timing cache in the current folder.
    compiler.run(options.command(), work, log, recipe.parallel.world_size)
    _check_compiled(compiled, planned)
    for path in compiled.iterdir():
        path.rename(engine / path.name)
    info = tokenizer_info.tokenizer_info(Tokenizer.load(engine), planned.eos_token_ids)
    (engine / tokenizer_info.FILE_NAME).write_text(info, encoding="utf-8")


def try_out(engine: Path) -> None:
    """Open the engine as serving would, without generating: `make gpu-check` does that."""
    open_engine(engine, ())  # without hashing the files again


def _check_program(recipe: Recipe, words: Sequence[str]) -> None:
    if shutil.which(PROGRAM):
        return
    command = shlex.join(container.arguments(recipe, words))
    raise BuildError(
        f"{PROGRAM} is not here: engines for target tensorrt-llm are compiled in NVIDIA's container "
        f"({IMAGE}), on the GPU that will serve them. On a machine with that GPU, Docker and NVIDIA's "
        "container toolkit:\n"
        f'docker compose run --rm --user "$(id -u):$(id -g)" {command}'
    )


def _version() -> str:
    try:
        version = metadata.version(LIBRARY)
    except metadata.PackageNotFoundError:
        raise BuildError(
            f"{PROGRAM} is here, but this Python does not find {LIBRARY}, so the version of the engine would "
            f"be unknown; run this in the container of docker/triton.Dockerfile ({IMAGE})."
        ) from None
    if not _VERSIONS.contains(version, prereleases=True):
        raise BuildError(
            f"TensorRT-LLM {version} is installed, but Slipway writes checkpoints for {_VERSIONS}; use the "
            f"container of docker/triton.Dockerfile ({IMAGE}, which has 1.2.1)."
        )
    return version


def _device() -> InstalledGpu:
    """One of the GPUs, which must be alike: an engine is compiled for one compute capability."""
    found = gpus.installed()
    if len({device.capability for device in found}) > 1:
        raise BuildError(
            f"The GPUs here differ in compute capability: {', '.join(map(str, found))}; choose those that "
            "will serve the engine, such as CUDA_VISIBLE_DEVICES=0."
        )
    return found[0]


def _gpu(device: InstalledGpu) -> Gpu:
    major, minor = device.capability.split(".")
    return Gpu(device.name, device.memory or 0, (int(major), int(minor)))


def _disk_bytes(recipe: Recipe, model: Architecture) -> int:
    """Bytes of all ranks, converted and compiled; the compiled ones are written last."""
    converted: Quantization = recipe.quantization if recipe.quantization in CALIBRATED else "none"
    both = converted, recipe.quantization
    per_rank = sum(memory.weight_bytes(model, quantization, recipe.parallel) for quantization in both)
    return recipe.parallel.world_size * per_rank


def _warn(recipe: Recipe, model: Architecture) -> None:
    """Print what the plan says; it is an estimate, so it stops no build.

    There is no plan for a GPU that shares the machine's memory.
    """
    device = _device()
    if device.memory is None:
        return
    refusal = plan.make(recipe, model, _gpu(device)).refusal
    if refusal:
        progress.say(f"Note: by its plan, {refusal}")


def _check_compiled(compiled: Path, planned: Manifest) -> None:
    """Compare the result with the recipe: trtllm-build changes limits and only warns."""
    expected = {_CONFIG, *(f"rank{rank}.engine" for rank in range(planned.parallel.world_size))}
    made = {path.name for path in compiled.iterdir() if path.stat().st_size}
    if not expected <= made:
        raise BuildError(
            f"trtllm-build succeeded but left no {' and no '.join(sorted(expected - made))}; build again."
        )
    config = json_file.read(compiled / _CONFIG)
    built: dict[str, Any] = config["build_config"]
    version = planned.versions[LIBRARY]
    if config["version"] != version:
        raise BuildError(
            f"trtllm-build is of TensorRT-LLM {config['version']}, and this Python has {version}; one of "
            "them is not the container's."
        )
    for name in Limits.model_fields:
        asked = getattr(planned.limits, name)
        if built[name] < asked:
            raise BuildError(
                f"trtllm-build made an engine with {name} {built[name]} where the recipe asks for {asked}; "
                f"give limits.{name} {built[name]} or less."
            )
