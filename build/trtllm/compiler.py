"""trtllm-build as a child process: its log as a progress bar, its failures as sentences.

The log lines are those of TensorRT-LLM 1.2: tensorrt_llm/plugin/plugin.py, builder.py (build, build_engine),
_common.py (serialize_engine), each as `[time] [TRT-LLM] [I] …` (logger.py); lines with [TRT] are TensorRT's.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from build import program, progress
from build.program import Cause
from build.trtllm.options import PROGRAM

# Each rank prints a line with each of these, in this order; lines of ranks built at once are mixed.
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
_GPU_MEMORY = (
    "The GPU's memory is too small for this build ({line}); end other programs on the GPU, or lower "
    "limits.max_num_tokens or max_batch_size, or take a smaller quantization: `python -m build plan RECIPE "
    "--gpu NAME` says what fits."
)
# Causes come before their consequences. The patterns are from the named files of TensorRT-LLM, and from
# messages of PyTorch, CUDA, TensorRT and Python in logs of NVIDIA/TensorRT-LLM's issues (346, 1609, 2141,
# 2451).
CAUSES = (
    Cause(
        # The last is build.py's own: it starts min(torch.cuda.device_count(), --workers) processes.
        r"Found no NVIDIA driver|No CUDA GPUs are available|libcuda\.so\.1: cannot open|"
        r"no CUDA-capable device|max_workers must be greater than 0",
        "trtllm-build finds no GPU ({line}); start the container with GPUs, and see that nvidia-smi works "
        "in it.",
    ),
    Cause(
        r"driver version is insufficient|NVIDIA driver on your system is too old|forward compatibility was",
        "The GPU's driver is too old for this container ({line}); install NVIDIA's driver 590 or newer on "
        "the machine.",
    ),
    Cause(
        # builder.py (build), cpp/tensorrt_llm/plugins/gptAttentionCommon, PyTorch
        r"not supported on SM|pre SM ?80 GPUs do not|no kernel image is available|"
        r"cannot be enabled except on|Unsupported SM",
        "TensorRT-LLM has no kernels for this on a GPU of this compute capability ({line}); take another "
        "quantization or dtype (`python -m build plan RECIPE --gpu NAME` shows which), or another GPU.",
    ),
    Cause(
        # models/modeling_utils.py (load), commands/build.py, argparse
        r"Required but not provided tensors|for parameter '.*'|Unsupported model architecture|"
        r"unexpected keyword argument|Extra inputs are not permitted|KeyError: '\w+ForCausalLM'|"
        r"trtllm-build: error: |invalid choice: ",
        "The checkpoint does not fit this TensorRT-LLM ({line}); it is written for 1.2, which the container "
        "of docker/triton.Dockerfile has.",
    ),
    Cause(r"Requested amount of GPU memory|CUDA out of memory", _GPU_MEMORY),
    Cause(r"Error Code 2: OutOfMemory|cudaErrorMemoryAllocation|CUDA .*out of memory", _GPU_MEMORY),
    Cause(
        r"MemoryError|std::bad_alloc|Cannot allocate memory|process pool was terminated abruptly",
        "The machine's own memory ran out ({line}); a build holds the weights of each rank built at once, "
        "about twice: free memory, add swap, or give the container more.",
    ),
    Cause(
        # cpp/tensorrt_llm/plugins, TensorRT
        r"Assertion failed: |is not supported by MMHA|Unsupported data ?type|"
        r"could not find any implementation|[Pp]lugin .*(?:not found|failed|unsupported)",
        "A plugin of TensorRT-LLM does not accept the model ({line}); give another dtype (float16 or "
        "bfloat16) or quantization in the recipe.",
    ),
)


def run(command: Sequence[str], directory: Path, log: Path, ranks: int) -> None:
    """Run trtllm-build in `directory` with a progress bar; its output goes to `log`, which stays.

    Raises BuildError, with the cause if it is a known one.
    """
    steps = StepCount(ranks)
    with progress.step(f"Compiling with {PROGRAM}", ranks * len(STEPS)) as advance:
        program.run(
            PROGRAM,
            command,
            log,
            lambda line: advance(steps.add(line.decode(errors="replace"))),
            directory,
            CAUSES,
        )


class StepCount:
    """How many steps all ranks have done, counted from the lines that they print.

    A line does not say which rank printed it. When n lines of a step were printed, n ranks are at least that
    far, even when an earlier line is missing.
    """

    def __init__(self, ranks: int) -> None:
        self._ranks = ranks
        self._lines: Counter[int] = Counter()
        self._done = 0

    def add(self, line: str) -> int:
        """Count one line; returns the steps that are new."""
        step = next((index for index, words in enumerate(STEPS) if words in line), None)
        if step is None:
            return 0
        self._lines[step] += 1
        furthest = (
            max((index + 1 for index, count in self._lines.items() if count > rank), default=0)
            for rank in range(self._ranks)
        )
        before, self._done = self._done, sum(furthest)
        return self._done - before
