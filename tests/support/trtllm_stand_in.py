"""A stand-in for NVIDIA's container: trtllm-build, nvidia-smi and the installed library, as files.

Its trtllm-build takes upstream's options only (golden/trtllm_build_options.json), reads the checkpoint,
prints what version 1.2 prints and writes the files that upstream writes.
"""

import os
import sys
from pathlib import Path

from support.paths import GOLDEN

_OPTIONS = GOLDEN / "trtllm_build_options.json"
VERSION = "1.2.1"

_PROGRAM = f"""#!{sys.executable}
import argparse, json, os, pathlib, sys, time
options = json.loads(pathlib.Path({str(_OPTIONS)!r}).read_text())
parser = argparse.ArgumentParser(prog="trtllm-build", allow_abbrev=False)
for name, option in options.items():
    if option["type"] == "flag":
        parser.add_argument("--" + name, action="store_true")
    else:
        kind = int if option["type"] == "int" else str
        parser.add_argument("--" + name, type=kind, choices=option.get("choices"), default=option["default"])
args = parser.parse_args()


def say(words, source="TRT-LLM", level="I"):
    print(f"[11/25/2026-08:22:19] [{{source}}] [{{level}}] {{words}}", flush=True)


checkpoint, output = pathlib.Path(args.checkpoint_dir), pathlib.Path(args.output_dir)
config = json.loads((checkpoint / "config.json").read_text())
output.mkdir(exist_ok=True)
print("[TensorRT-LLM] TensorRT-LLM version: {VERSION}", flush=True)
build_config = {{name: getattr(args, name) for name in
                ("max_batch_size", "max_input_len", "max_seq_len", "max_num_tokens", "max_beam_width")}}
build_config |= json.loads(os.environ.get("STAND_IN_BUILT", "{{}}"))
for rank in range(config["mapping"]["world_size"]):
    weights = (checkpoint / f"rank{{rank}}.safetensors").read_bytes()
    say(f"Set PluginConfig.dtype to {{config['dtype']}}.")
    say("padding removal and fMHA are both enabled, max_input_len is not required and will be ignored",
        level="W")
    say("Total time of constructing network from module object 2.3651156425476074 seconds")
    say("Total optimization profiles added: 6")
    say("Total time to initialize the weights in network Unnamed Network 0: 00:00:00")
    say("Build TensorRT engine Unnamed Network 0")
    say("Detected 17 inputs and 1 output network tensors.", "TRT")
    if "STAND_IN_SLEEPS" in os.environ:
        time.sleep(60)
    if "STAND_IN_FAILS" in os.environ:
        print(os.environ["STAND_IN_FAILS"], flush=True)
        sys.exit(1)
    say("Engine generation completed in 5.37531 seconds.", "TRT")
    say("Total time of building Unnamed Network 0: 00:00:08")
    pathlib.Path(args.output_timing_cache).write_bytes(b"cache")
    say(f"Timing cache serialized to {{args.output_timing_cache}}")
    if rank == 0:
        made = {{"version": "{VERSION}", "pretrained_config": config, "build_config": build_config}}
        (output / "config.json").write_text(json.dumps(made, indent=4))
    say(f"Serializing engine to {{output}}/rank{{rank}}.engine...")
    (output / f"rank{{rank}}.engine").write_bytes(b"engine of " + weights[:100])
    say("Engine serialized. Total time: 00:00:00")
say("Total time of building all engines: 00:00:11")
"""


def write(
    directory: Path,
    gpus: tuple[str, ...] = ("NVIDIA L4, 23034, 8.9",),
    version: str = VERSION,
    program: bool = True,
) -> dict[str, str]:
    """Write the files and return the environment to find them; without `gpus` there is no driver."""
    bin_, site = directory / "bin", directory / "site"
    (site / f"tensorrt_llm-{version}.dist-info").mkdir(parents=True)
    (site / f"tensorrt_llm-{version}.dist-info" / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: tensorrt_llm\nVersion: {version}\n"
    )
    bin_.mkdir()
    if gpus:
        _executable(bin_ / "nvidia-smi", "#!/bin/sh\n" + "".join(f"echo '{gpu}'\n" for gpu in gpus))
    if program:
        _executable(bin_ / "trtllm-build", _PROGRAM)
    inherited = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    return {**inherited, "PATH": f"{bin_}:/usr/bin:/bin", "PYTHONPATH": str(site)}


def _executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
