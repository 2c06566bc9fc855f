"""An engine for TensorRT-LLM: converted, compiled by trtllm-build, read back; called by `engine`.

trtllm-build is in NVIDIA's container and compiles for the GPU it runs on, so all of this runs there:
`docker compose run build`.
"""

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from build import progress
from build.checkpoint import json_file
from build.checkpoint.architecture import Architecture
from build.checkpoint.checkpoint import Checkpoint
from build.destination import check_room
from build.maker import Facts
from build.trtllm import container, convert, plan
from build.trtllm import memory as trtllm_memory
from build.trtllm import run as trtllm_run
from build.trtllm.calibration import DEFAULT_TEXT, Calibration
from build.trtllm.compile_commands import IMAGE, PROGRAM, TrtllmBuild
from build.trtllm.gpu import Gpu
from build.trtllm.mapping import Mapping
from slipway.contract import gpus
from slipway.contract.errors import BuildError, CheckpointError
from slipway.contract.gpus import InstalledGpu
from slipway.contract.manifest import FileDigest, Manifest, open_engine
from slipway.contract.quantization import CALIBRATED, Quantization
from slipway.contract.recipe import Limits, Recipe
from slipway.text import template, tokenizer_info
from slipway.text.tokenizer import Tokenizer

LIBRARY = "tensorrt_llm"
# Of the checkpoints that `convert` writes.
_VERSIONS = SpecifierSet("==1.2.*")
_CONFIG = "config.json"
_METHODS: dict[Quantization, str] = {
    "none": "unquantised",
    "int8": "W8A16 by trtllm-build",
    "int4": "W4A16 by trtllm-build",
    "int4-awq": "W4A16_AWQ by modelopt",
    "int8-sq": "W8A8_SQ_PER_CHANNEL by modelopt",
    "fp8": "FP8 by modelopt",
}


def facts(recipe: Recipe, words: Sequence[str]) -> Facts:
    """Raises SlipwayError unless the program, its library and a GPU that suits the recipe are here."""
    _check_program(recipe, words)
    version = _version()
    device = _device()
    obstacle = _gpu(device).obstacle(recipe.quantization, recipe.kv_cache.quantization)
    if obstacle:
        raise BuildError(f"{obstacle}; take another GPU, or another quantization for it.")
    return Facts(
        method=_METHODS[recipe.quantization],
        versions={LIBRARY: version},
        # An engine runs with the version that compiled it, and no other.
        requires={LIBRARY: f"=={version}"},
        device=recipe.target.device,
        compute_capability=device.capability,
        settings=settings(recipe),
    )


def settings(recipe: Recipe) -> dict[str, Any]:
    """What decides how the engine turns out beside what every target has; with it changes the digest."""
    text = recipe.calibration or DEFAULT_TEXT
    return {
        # Which GPUs an engine takes can change without compiling it.
        **recipe.model_dump(mode="json", include={"dtype": True, "parallel": {"tensor", "pipeline"}}),
        "kv_cache_quantization": recipe.kv_cache.quantization,
        "calibration": FileDigest.of(text).sha256 if recipe.calibrated else None,
    }


def make(
    recipe: Recipe, checkpoint: Checkpoint, planned: Manifest, work: Path, engine: Path, log: Path
) -> None:
    """Convert, compile and read back; see `maker`."""
    if not (engine / template.FILE_NAME).is_file():
        raise CheckpointError(
            f"{checkpoint.directory} has no chat template, and the engine would have none; give a Jinja file "
            "as chat.template in the recipe (the model it was trained from has one in tokenizer_config.json)."
        )
    options = TrtllmBuild.of(recipe, checkpoint.architecture, work.resolve())
    options = replace(
        options, checkpoint_dir=work.resolve() / "checkpoint", output_dir=work.resolve() / "compiled"
    )
    _warn(recipe, checkpoint.architecture)
    mapping = Mapping(recipe.parallel.tensor, recipe.parallel.pipeline)
    check_room(work, _room(recipe, checkpoint.architecture, mapping), "engine with its converted checkpoint")
    convert.convert(
        checkpoint.directory,
        options.checkpoint_dir,
        recipe.quantization,
        recipe.dtype,
        mapping,
        recipe.kv_cache.quantization,
        Calibration(recipe.calibration or DEFAULT_TEXT),
    )
    # The timing cache of trtllm-build lands in the folder it runs in.
    trtllm_run.run(options.command(), work, log, mapping.world_size)
    _read_back(options.output_dir, planned)
    for path in options.output_dir.iterdir():
        path.rename(engine / path.name)
    info = tokenizer_info.tokenizer_info(Tokenizer.load(engine), planned.eos_token_ids)
    (engine / tokenizer_info.FILE_NAME).write_text(info, encoding="utf-8")


def try_out(engine: Path) -> None:
    """What serving would refuse is refused now. That it generates, `make gpu-check` shows."""
    open_engine(engine, ())  # the digests are a moment old


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
            f"{PROGRAM} is here, but this Python does not see {LIBRARY}, so the engine could not say which "
            f"version it is for; run this in the container of docker/triton.Dockerfile ({IMAGE})."
        ) from None
    if not _VERSIONS.contains(version, prereleases=True):
        raise BuildError(
            f"TensorRT-LLM {version} is installed, but Slipway writes checkpoints for {_VERSIONS}; use the "
            f"container of docker/triton.Dockerfile ({IMAGE}, which has 1.2.1)."
        )
    return version


def _device() -> InstalledGpu:
    """One of the GPUs, which have to be alike: an engine is compiled for one compute capability."""
    found = gpus.installed()
    if len({device.capability for device in found}) > 1:
        raise BuildError(
            f"The GPUs here differ in compute capability: {', '.join(map(str, found))}; choose those that "
            "will serve the engine, such as CUDA_VISIBLE_DEVICES=0."
        )
    return found[0]


def _gpu(device: InstalledGpu) -> Gpu:
    major, minor = device.capability.split(".")
    return Gpu(device.name, device.memory, (int(major), int(minor)))


def _room(recipe: Recipe, model: Architecture, mapping: Mapping) -> int:
    """Bytes of all ranks before trtllm-build and after it, which writes them last."""
    converted: Quantization = recipe.quantization if recipe.quantization in CALIBRATED else "none"
    forms = converted, recipe.quantization
    return mapping.world_size * sum(trtllm_memory.weight_bytes(model, form, mapping) for form in forms)


def _warn(recipe: Recipe, model: Architecture) -> None:
    """The planner estimates, so what it says ends no build."""
    refusal = plan.make(recipe, model, _gpu(_device())).refusal
    if refusal:
        progress.say(f"Note: by its plan the engine will not do: {refusal}")


def _read_back(compiled: Path, planned: Manifest) -> None:
    """Hold what was compiled against what was asked: trtllm-build corrects limits with a mere warning."""
    expected = {_CONFIG, *(f"rank{rank}.engine" for rank in range(planned.parallel.world_size))}
    made = {path.name for path in compiled.iterdir() if path.stat().st_size}
    if not expected <= made:
        raise BuildError(
            f"trtllm-build ended well but left no {' and no '.join(sorted(expected - made))}; build again."
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
