"""Which processes serve the TensorRT-LLM engines: one group for each engine; used by `tritonserver`.

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
# Open MPI gives each of up to two processes one core, all threads and Python stages of a Triton included,
# unless it is configured otherwise or told so.
_MPIRUN = ["mpirun", "--allow-run-as-root", "--bind-to", "none"]


@dataclass(frozen=True, slots=True)
class Alone:
    """One Triton process for all: no engine takes more than one GPU."""

    environment: dict[str, str] = field(default_factory=dict)

    def launch(self, command: list[str]) -> list[str]:
        """The command, its models under control."""
        return [*command, *_CONTROLLED]


@dataclass(frozen=True, slots=True)
class Leader:
    """A Triton process for each rank of the one engine.

    Rank 0 leads and serves every model; the others load the engine alone, and never come to listen. So nobody
    could tell them to unload it, and rank 0 refuses to do so.
    """

    engine: Manifest
    environment: dict[str, str] = field(default_factory=dict)

    def launch(self, command: list[str]) -> list[str]:
        """One line of mpirun with all ranks."""
        others = ["--model-control-mode=explicit", f"--load-model={engine_stage(self.engine.name)}"]
        ranks = (
            ["-n", "1", *command, *(others if rank else []), _python_shared_memory(rank)]
            for rank in range(self.engine.parallel.world_size)
        )
        line = [*_MPIRUN, *next(ranks)]
        return [*line, *chain.from_iterable([":", *rank] for rank in ranks)]


@dataclass(frozen=True, slots=True)
class Orchestrator:
    """One Triton process, which starts a worker for each rank of each engine.

    Participant ids are for ranks that mpirun starts beforehand: given with workers that are spawned, the
    executor throws (cpp/tensorrt_llm/executor/executorImpl.cpp, "Participant ids should not be set").
    """

    engines: tuple[Manifest, ...]
    environment: dict[str, str] = field(
        default_factory=lambda: {"TRTLLM_ORCHESTRATOR": "1", "TRTLLM_ORCHESTRATOR_SPAWN_PROCESSES": "1"}
    )

    def launch(self, command: list[str]) -> list[str]:
        """One line of mpirun with one rank, which keeps its own memory off the engines' GPUs."""
        gpus = sorted(gpu for engine in self.engines for gpu in engine.parallel.gpus or ())
        return [
            *(*_MPIRUN, "-n", "1", *command, *_CONTROLLED),
            *("--pinned-memory-pool-byte-size=0", "--enable-peer-access=false"),
            *(f"--cuda-memory-pool-byte-size={gpu}:0" for gpu in gpus),
            _python_shared_memory(0),
        ]


def form(engines: Sequence[Manifest]) -> Alone | Leader | Orchestrator:
    """The processes that serve these TensorRT-LLM engines.

    Raises ServerFailed, with GPUs that would do, when several share a server and do not say which GPU is
    whose.
    """
    if all(engine.parallel.world_size == 1 for engine in engines):
        return Alone()
    if len(engines) == 1:
        return Leader(engines[0])
    given = list(chain.from_iterable(engine.parallel.gpus or () for engine in engines))
    if not all(engine.parallel.gpus for engine in engines) or len(set(given)) < len(given):
        raise ServerFailed(
            f"{' and '.join(engine.name for engine in engines)} share a server, and each needs GPUs of its "
            f"own: give parallel.gpus in their recipes, such as {_dealt_out(engines)}, and run `make engine` "
            "for each (nothing is compiled again)."
        )
    return Orchestrator(tuple(engines))


def _dealt_out(engines: Sequence[Manifest]) -> str:
    first, said = 0, []
    for engine in engines:
        count = engine.parallel.world_size
        said.append(f"{list(range(first, first + count))} for {engine.name}")
        first += count
    return ", ".join(said)


def _python_shared_memory(rank: int) -> str:
    """Triton processes on one machine would take each other's shared memory for their own."""
    return f"--backend-config=python,shm-region-prefix-name=prefix{rank}_"
