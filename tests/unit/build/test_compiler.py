"""What trtllm-build says when it fails, and what a person reads then."""

import os
import re
import sys
import time
from pathlib import Path

import pytest

from build.trtllm.compiler import STEPS, StepCount, run
from slipway.contract.errors import BuildError

# As TensorRT-LLM, TensorRT, PyTorch and CUDA print them, with the lines that follow in a real log.
TIME = "[05/15/2024-14:03:05]"
SAID = {
    "Requested amount of GPU memory": f"{TIME} [TRT] [E] 2: [virtualMemoryBuffer.cpp::resizePhysical::140] "
    "Error Code 2: OutOfMemory (no further information)\n"
    f"{TIME} [TRT] [W] Requested amount of GPU memory (24793579520 bytes) could not be allocated. There may\n"
    f"{TIME} [TRT-LLM] [E] Engine building failed, please check the error log.\n"
    "AssertionError: Engine building failed, please check the error log.",
    "torch.OutOfMemoryError": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 224.00 MiB.",
    "host": "terminate called after throwing an instance of 'std::bad_alloc'",
    "host, several ranks": "concurrent.futures.process.BrokenProcessPool: A process in the process pool was "
    "terminated abruptly while the future was running or pending.",
    "SM 100": "RuntimeError: INT8/INT4 quantization is not supported on SM>=100.",
    "SM 75": "[TensorRT-LLM][ERROR] tensorrt_llm::common::TllmException: [TensorRT-LLM][ERROR] Assertion "
    "failed: Unsupported data type, pre SM 80 GPUs do not support bfloat16 (gptAttentionCommon.cpp:446)",
    "architecture": "KeyError: 'Qwen2ForCausalLM'",
    "tensors": "RuntimeError: Required but not provided tensors:{'transformer.layers.0.mlp.fc.weight'}",
    "option": "trtllm-build: error: unrecognized arguments: --kv_cache_type paged",
    "plugin": "[TensorRT-LLM][ERROR] Assertion failed: Head size 60 is not supported by MMHA. "
    "(attentionOp.cpp:2237)",
    "no driver": "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA "
    "GPU and installed a driver",
    "no GPU": "ValueError: max_workers must be greater than 0",
    "no library": "ImportError: libcuda.so.1: cannot open shared object file: No such file or directory",
    "old driver": "RuntimeError: The NVIDIA driver on your system is too old (found version 12020).",
    "disk": "OSError: [Errno 28] No space left on device",
}
MEANS = {
    "Requested amount of GPU memory": r"GPU's memory is too small .*24793579520 bytes.*max_num_tokens",
    "torch.OutOfMemoryError": r"GPU's memory is too small .*224\.00 MiB.*build plan",
    "host": "machine's own memory ran out .*add swap",
    "host, several ranks": "machine's own memory ran out .*terminated abruptly.*each rank",
    "SM 100": r"no kernels .*not supported on SM>=100\).*another quantization",
    "SM 75": "no kernels .*do not support bfloat16.*dtype",
    "architecture": "does not fit .*Qwen2ForCausalLM.* written for 1.2",
    "tensors": "does not fit .*mlp.fc.weight",
    "option": "does not fit .*unrecognized arguments",
    "plugin": "plugin of TensorRT-LLM .*Head size 60 .*another dtype",
    "no driver": "finds no GPU .*start the container with GPUs",
    "no GPU": "finds no GPU",
    "no library": r"finds no GPU .*libcuda\.so\.1",
    "old driver": "driver is too old .*590",
    "disk": "disk is full .*make room",
}


def _failing(tmp_path: Path, words: str, end: str = "exit 1") -> str:
    (tmp_path / "said").write_text(f"{TIME} [TRT-LLM] [I] Set PluginConfig.dtype to float16.\n{words}\n")
    with pytest.raises(BuildError) as failed:
        run(["sh", "-c", f"cat said; {end}"], tmp_path, tmp_path / "log", 1)
    assert (tmp_path / "log").read_text() == (tmp_path / "said").read_text()
    return str(failed.value)


@pytest.mark.parametrize("cause", SAID)
def test_a_known_failure_is_one_sentence_that_says_what_to_do(cause: str, tmp_path: Path) -> None:
    said = _failing(tmp_path, SAID[cause])
    assert re.search(MEANS[cause], said), said
    assert "\n" not in said
    assert said.endswith(f"Its whole log: {tmp_path / 'log'}")


def test_an_unknown_failure_shows_the_end_of_the_log(tmp_path: Path) -> None:
    said = _failing(tmp_path, "\n".join(f"line {number}" for number in range(40)), "exit 3")
    assert "ended with exit status 3" in said
    assert said.endswith("line 38\nline 39")
    assert "line 20\n" not in said


def test_a_program_that_the_system_kills_ran_out_of_memory(tmp_path: Path) -> None:
    assert "killed, as the system does when memory runs out" in _failing(tmp_path, "", "kill -9 $$")


def test_warnings_of_a_build_that_ends_well_are_no_failure(tmp_path: Path) -> None:
    run(["sh", "-c", f"echo '{SAID['Requested amount of GPU memory']}'"], tmp_path, tmp_path / "log", 1)
    assert "24793579520" in (tmp_path / "log").read_text()


def test_nothing_that_it_started_outlives_it(tmp_path: Path) -> None:
    script = "sleep 60 & echo $! >child; exit 0"
    # The child holds the pipe open, as a rank that hangs would: it ends with its group.
    command = [sys.executable, "-c", f"import os; os.system({script!r} + ' >/dev/null 2>&1')"]
    run(command, tmp_path, tmp_path / "log", 1)
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 5
    while _runs(child):
        assert time.monotonic() < deadline, "the child is still there"
        time.sleep(0.02)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"


def _lines(*steps: int) -> list[str]:
    return [f"{TIME} [TRT-LLM] [I] {STEPS[step]} something" for step in steps]


def test_the_bar_ends_at_its_end_whatever_the_order_of_ranks() -> None:
    count = len(STEPS)
    one_by_one = _lines(*range(count), *range(count))
    mixed = _lines(*sorted([*range(count), *range(count)]))
    without_some = _lines(0, count - 1, 3, count - 1)
    for lines in (one_by_one, mixed, without_some):
        steps = StepCount(ranks=2)
        counted = [steps.add(line) for line in lines]
        assert sum(counted) == 2 * count
        assert min(counted) >= 0


def test_lines_of_several_profiles_do_not_run_past_the_end() -> None:
    steps = StepCount(ranks=1)
    assert sum(steps.add(line) for line in _lines(0, 4, 4, 4, 4, 7, 7)) == len(STEPS)


def test_other_lines_do_not_move_the_bar() -> None:
    assert StepCount(ranks=1).add(f"{TIME} [TRT] [I] Total Activation Memory: 503420928 bytes") == 0
