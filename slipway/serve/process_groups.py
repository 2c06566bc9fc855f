"""The processes that serve TensorRT-LLM engines: one Triton, or one for each GPU.

The launch lines are those of TensorRT-LLM's triton_backend/scripts/launch_triton_server.py, the modes those
of docs/llama_multi_instance.md of tensorrtllm_backend.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

from slipway.contract.errors import ServerFailed
from slipway.contract.manifest import Manifest
from slipway.contract.stage_names import engine_stage

# All models at the start, and each may be unloaded and loaded again while the server runs.
_CONTROLLED = ["--model-control-mode=explicit", "--load-model=*"]
# By default Open MPI binds each of up to two processes to one core, with all threads and Python stages of a
# Triton. And it refuses more processes than cores, which counts workers too: a container may have few.
_MPIRUN = ["mpirun", "--allow-run-as-root", "--bind-to", "none", "--oversubscribe"]

# For Triton's process with a TensorRT-LLM engine, and the workers that it starts.
_OF_COMPILED = {
    # TensorRT-LLM 1.2.1 reserves buffers to move KV caches between machines, 1 to 1.5 GiB for each engine and
    # rank, and takes them from the KV cache without a check. "0" and an empty text throw.
    "TRTLLM_KVCACHE_TRANSFER_BUFFER_SIZE": "0B",
    # The ranks of one machine: Open MPI may else try a network interface on which nothing answers.
    "OMPI_MCA_btl_tcp_if_include": "lo",
}


@dataclass(frozen=True, slots=True)
class OneProcess:
    """One Triton process for all: no engine takes more than one GPU."""

    environment: dict[str, str] = field(default_factory=dict)

    def launch(self, command: list[str], memory: str) -> list[str]:
        """The command, with models that can be loaded and unloaded. memory: prefix of its shared memory."""
        return [*command, *_CONTROLLED, _python_shared_memory(memory, 0)]


@dataclass(frozen=True, slots=True)
class Leader:
    """A Triton process for each rank of the one engine.

    Rank 0 leads and serves every model. The others load only the engine, and do not listen: they cannot be
    asked to unload it, so rank 0 refuses to.
    """

    engine: Manifest
    environment: dict[str, str] = field(default_factory=dict)

    def launch(self, command: list[str], memory: str) -> list[str]:
        """One line of mpirun with all ranks. memory: prefix of their shared memory."""
        others = ["--model-control-mode=explicit", f"--load-model={engine_stage(self.engine.name)}"]
        ranks = (
            ["-n", "1", *command, *(others if rank else []), _python_shared_memory(memory, rank)]
            for rank in range(self.engine.parallel.world_size)
        )
        line = [*_MPIRUN, *next(ranks)]
        return [*line, *chain.from_iterable([":", *rank] for rank in ranks)]


@dataclass(frozen=True, slots=True)
class Orchestrator:
    """One Triton process, which starts a worker for each rank of each engine.

    Participant ids are for ranks that mpirun started. With spawned workers the executor refuses them
    (cpp/tensorrt_llm/executor/executorImpl.cpp, "Participant ids should not be set").
    """

    engines: tuple[Manifest, ...]
    environment: dict[str, str] = field(
        default_factory=lambda: {"TRTLLM_ORCHESTRATOR": "1", "TRTLLM_ORCHESTRATOR_SPAWN_PROCESSES": "1"}
    )

    def launch(self, command: list[str], memory: str) -> list[str]:
        """One line of mpirun with one rank, which keeps its own memory off the engines' GPUs.

        memory: prefix of its shared memory.
        """
        gpus = sorted(gpu for engine in self.engines for gpu in engine.parallel.gpus or ())
        return [
            *(*_MPIRUN, "-n", "1", *command, *_CONTROLLED),
            *("--pinned-memory-pool-byte-size=0", "--enable-peer-access=false"),
            *(f"--cuda-memory-pool-byte-size={gpu}:0" for gpu in gpus),
            _python_shared_memory(memory, 0),
        ]


def process_group(engines: Sequence[Manifest]) -> OneProcess | Leader | Orchestrator:
    """The processes that serve these TensorRT-LLM engines.

    Raises ServerFailed, with a choice of GPUs that works, when several engines share a server and their
    recipes do not divide the GPUs.
    """
    if all(engine.parallel.world_size == 1 for engine in engines):
        return OneProcess()
    if len(engines) == 1:
        return Leader(engines[0])
    given = list(chain.from_iterable(engine.parallel.gpus or () for engine in engines))
    if not all(engine.parallel.gpus for engine in engines) or len(set(given)) < len(given):
        raise ServerFailed(
            f"{' and '.join(engine.name for engine in engines)} share a server, and each needs GPUs of its "
            f"own: give parallel.gpus in their recipes, such as {_division(engines)}, and run `make engine` "
            "for each (nothing is compiled again)."
        )
    return Orchestrator(tuple(engines))


def environment(engines: Sequence[Manifest]) -> dict[str, str]:
    """Variables of Triton for these TensorRT-LLM engines, beside those of their process group."""
    return dict(_OF_COMPILED) if engines else {}


def _division(engines: Sequence[Manifest]) -> str:
    first, parts = 0, []
    for engine in engines:
        count = engine.parallel.world_size
        parts.append(f"{list(range(first, first + count))} for {engine.name}")
        first += count
    return ", ".join(parts)


def _python_shared_memory(prefix: str, rank: int) -> str:
    """Triton processes of one machine need different names for their shared memory."""
    return f"--backend-config=python,shm-region-prefix-name={prefix}{rank}_"
