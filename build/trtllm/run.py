"""trtllm-build as a child process: its log as a bar, and what went wrong as a sentence; for `trtllm_engine`.

The lines are those of TensorRT-LLM 1.2: tensorrt_llm/plugin/plugin.py, builder.py (build, build_engine),
_common.py (serialize_engine), each as `[time] [TRT-LLM] [I] …` (logger.py); lines with [TRT] are TensorRT's.
"""

import ctypes
import os
import re
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from build import progress
from slipway.contract.errors import BuildError

# One line of each is printed for every rank, in this order; ranks that are built at once mix theirs.
STEPS = (
    "Set PluginConfig.dtype to",
    "Total time of constructing network from module object",
    "Total time to initialize the weights in network",
    "Build TensorRT engine",
    "Engine generation completed in",
    "Total time of building Unnamed Network",
    "Serializing engine to",
    "Engine serialized. Total time",
)
_LOG_TAIL = 15
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class Failure:
    """words: what the log says then (regular expression). sentence: what it means and what to do.

    {line} in it is the line of the log, without time and level.
    """

    words: str
    sentence: str


_GPU_MEMORY = (
    "The GPU's memory is too small for this build ({line}); end other programs on the GPU, or lower "
    "limits.max_num_tokens or max_batch_size, or take a smaller quantization: `python -m build plan RECIPE "
    "--gpu NAME` says what fits."
)
# The first that is found counts: the causes stand before what follows from them. Sources: files of
# TensorRT-LLM where they are named, the others are messages of PyTorch, CUDA, TensorRT and Python in logs of
# NVIDIA/TensorRT-LLM's issues (346, 1609, 2141, 2451) and in torch/cuda/__init__.py.
FAILURES = (
    Failure(
        # The last is build.py's own: it starts min(torch.cuda.device_count(), --workers) processes.
        r"Found no NVIDIA driver|No CUDA GPUs are available|libcuda\.so\.1: cannot open|"
        r"no CUDA-capable device|max_workers must be greater than 0",
        "trtllm-build finds no GPU ({line}); start the container with GPUs, and see that nvidia-smi works "
        "in it.",
    ),
    Failure(
        r"driver version is insufficient|NVIDIA driver on your system is too old|forward compatibility was",
        "The GPU's driver is too old for this container ({line}); install NVIDIA's driver 590 or newer on "
        "the machine.",
    ),
    Failure(
        # builder.py (build), cpp/tensorrt_llm/plugins/gptAttentionCommon, PyTorch
        r"not supported on SM|pre SM ?80 GPUs do not|no kernel image is available|"
        r"cannot be enabled except on|Unsupported SM",
        "TensorRT-LLM has no kernels for this on a GPU of this compute capability ({line}); take another "
        "quantization or dtype (`python -m build plan RECIPE --gpu NAME` shows which), or another GPU.",
    ),
    Failure(
        # models/modeling_utils.py (load), commands/build.py, argparse
        r"Required but not provided tensors|for parameter '.*'|Unsupported model architecture|"
        r"unexpected keyword argument|Extra inputs are not permitted|KeyError: '\w+ForCausalLM'|"
        r"trtllm-build: error: |invalid choice: ",
        "The checkpoint and this TensorRT-LLM do not fit each other ({line}); it is written for 1.2, which "
        "the container of docker/triton.Dockerfile has.",
    ),
    Failure(r"Requested amount of GPU memory|CUDA out of memory", _GPU_MEMORY),
    Failure(r"Error Code 2: OutOfMemory|cudaErrorMemoryAllocation|CUDA .*out of memory", _GPU_MEMORY),
    Failure(
        r"MemoryError|std::bad_alloc|Cannot allocate memory|process pool was terminated abruptly",
        "The machine's own memory ran out ({line}); a build holds the weights of each rank built at once, "
        "about twice: free memory, add swap, or give the container more.",
    ),
    Failure(
        r"No space left on device",
        "The disk is full ({line}); make room for the converted checkpoint and the engine, each as large as "
        "the weights.",
    ),
    Failure(
        # cpp/tensorrt_llm/plugins, TensorRT
        r"Assertion failed: |is not supported by MMHA|Unsupported data ?type|"
        r"could not find any implementation|[Pp]lugin .*(?:not found|failed|unsupported)",
        "A plugin of TensorRT-LLM does not take the model as it is ({line}); give another dtype (float16 or "
        "bfloat16) or quantization in the recipe.",
    ),
)
_PREFIX = re.compile(r"^(?:\[[^\]]*\]\s*)+")


def run(command: Sequence[str], directory: Path, log: Path, ranks: int) -> None:
    """Run it in `directory`, and show how far it is; all that it says goes to `log`, which stays.

    Raises BuildError, in words of ours where the cause is known. Whatever happens, nothing of it is left
    running.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    # Our rooms have names (build, text) that modules of others have too.
    environment.pop("PYTHONPATH", None)
    reached = Reached(ranks)
    with (
        log.open("wb") as sink,
        progress.step("Compiling with trtllm-build", ranks * len(STEPS)) as advance,
        subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A group of its own: ranks are built by children of trtllm-build, and Ctrl-C is for us to handle.
            start_new_session=True,
            preexec_fn=_end_with_parent,
        ) as process,
    ):
        assert process.stdout is not None
        # What it leaves behind would hold the log open, and its end would never come.
        threading.Thread(target=_end_group_with, args=(process,), daemon=True).start()
        try:
            for line in process.stdout:
                sink.write(line)
                sink.flush()
                advance(reached.count(line.decode(errors="replace")))
            process.wait()
        finally:
            _end_group(process.pid)
    if process.returncode != 0:
        raise BuildError(_said(log, process.returncode))


class Reached:
    """How many steps of how many ranks are done, counted from the lines that ranks print.

    Which rank printed a line is not in it. When a step was reported by n ranks, n ranks are at least that
    far, also where an earlier line is missing.
    """

    def __init__(self, ranks: int) -> None:
        self._ranks = ranks
        self._seen: Counter[int] = Counter()
        self._done = 0

    def count(self, line: str) -> int:
        """Steps that are done since the last line."""
        step = next((index for index, words in enumerate(STEPS) if words in line), None)
        if step is None:
            return 0
        self._seen[step] += 1
        furthest = (
            max((index + 1 for index, ranks in self._seen.items() if ranks > rank), default=0)
            for rank in range(self._ranks)
        )
        before, self._done = self._done, sum(furthest)
        return self._done - before


def _said(log: Path, status: int) -> str:
    """The sentence for a failed run: a known cause, or how it ended and the end of its log."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    for failure in FAILURES:
        for line in lines:
            if re.search(failure.words, line):
                quoted = _PREFIX.sub("", line.strip()).rstrip(".")
                return f"{failure.sentence.format(line=quoted)} Its whole log: {log}"
    if status == -signal.SIGKILL:
        return (
            "trtllm-build was killed, as a system does that runs out of memory; free memory, add swap, or "
            f"give the container more. Its whole log: {log}"
        )
    how = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
    tail = "\n".join(lines[-_LOG_TAIL:])
    return f"trtllm-build ended with {how}; its last lines (all: {log}):\n{tail}"


def _end_group_with(process: "subprocess.Popen[bytes]") -> None:
    process.wait()
    _end_group(process.pid)


def _end_group(leader: int) -> None:
    with suppress(ProcessLookupError):  # All of them had left.
        os.killpg(leader, signal.SIGKILL)


def _end_with_parent() -> None:
    """Runs in the child: when the build is killed without a chance to clean up, the child stops too."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
