"""The calibration of a checkpoint: scales, and the quantized weights of one rank.

NVIDIA's modelopt makes them, in an environment of its own (nvidia_modelopt.py). They are kept in a folder
whose name is a digest of everything they depend on. The number of ranks is not part of it.
"""

import hashlib
import json
import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from build import program, progress
from build.checkout import CACHE, CALIBRATION_TEXT, CHECKOUT
from build.checkpoint.checkpoint import Checkpoint
from build.checkpoint.transformers_config import transformers_config
from build.checkpoint.weights import ALL_DTYPES, Weights
from build.destination import Destination
from build.trtllm.dtype import STORED
from build.trtllm.rank_tensors import rank_tensors
from slipway.contract.errors import BuildError
from slipway.contract.quantization import CALIBRATED, CacheQuantization, Quantization
from slipway.contract.recipe import Dtype, Parallel
from slipway.text.file import read_text
from slipway.text.tokenizer import Tokenizer

ENVIRONMENT = CACHE / "modelopt"
KEPT = CACHE / "calibrated"
DEFAULT_TEXT = CALIBRATION_TEXT
MAX_SAMPLES = 128
_PROGRAM = Path(__file__).with_name("nvidia_modelopt.py")
_REQUIREMENTS = CHECKOUT / "requirements" / "modelopt.txt"
_FILE = "calibrated.safetensors"
_INPUTS = "calibration.json"


@dataclass(frozen=True, slots=True)
class CalibrationText:
    """The text that a calibration reads.

    samples: pieces of the text, drawn with `seed`; None means all, at most MAX_SAMPLES. sample_tokens: length
    of each piece.
    """

    path: Path = DEFAULT_TEXT
    samples: int | None = None
    sample_tokens: int = 256
    seed: int = 0


def needs_calibration(quantization: Quantization, cache: CacheQuantization) -> bool:
    """Whether scales are calibrated here; trtllm-build computes those of int8 and int4 itself."""
    return quantization in CALIBRATED or cache != "none"


@dataclass(frozen=True, slots=True)
class Calibration:
    """One calibration of a checkpoint.

    quantization: one of CALIBRATED, or none when only keys and values are calibrated. dtype: of the prequant
    scaling factors. samples: token ids, one sequence each.
    """

    checkpoint: Checkpoint
    quantization: Quantization
    cache: CacheQuantization
    dtype: Dtype
    samples: tuple[tuple[int, ...], ...]
    seed: int

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        quantization: Quantization,
        cache: CacheQuantization,
        dtype: Dtype,
        text: CalibrationText,
    ) -> Self:
        """Read the text; nothing is calibrated yet.

        Raises BuildError when the text is too short, or a sample longer than the model's context.
        """
        samples = _samples(checkpoint, text)
        quantization = quantization if quantization in CALIBRATED else "none"
        return cls(checkpoint, quantization, cache, dtype, samples, text.seed)

    @property
    def directory(self) -> Path:
        """The folder of the result. To find it, the whole checkpoint is hashed."""
        return _folder(self._inputs())

    def obtain(self) -> Weights:
        """The calibrated tensors of the whole model; the same calibration is run only once.

        Raises BuildError when the environment is missing, modelopt fails, or its tensors do not fit the
        model.
        """
        inputs = self._inputs()
        destination = Destination(_folder(inputs))
        with destination.locked():
            if destination.directory.exists():
                progress.say(f"Using the calibration of an earlier run, {destination.directory}.")
                return self._open(destination.directory)
            if not ((ENVIRONMENT / ".ready").is_file() and (ENVIRONMENT / "bin" / "python").exists()):
                raise BuildError(
                    "A calibration needs NVIDIA's modelopt, which is not installed here; `make "
                    "setup-modelopt` installs it, in an environment of its own. For a build in a container, "
                    "run `python -m build convert` with the same options outside first: its calibration is "
                    "used."
                )
            self.checkpoint.check_finite()
            with destination.workplace() as work:
                made = work / "calibrated"
                made.mkdir()
                job = work / "job.json"
                job.write_text(json.dumps(self._job(made / _FILE)), encoding="utf-8")
                _run(job, destination.log)
                _check_scales(self._open(made))
                (made / _INPUTS).write_text(json.dumps(inputs, indent=2), encoding="utf-8")
                destination.put(made)
            return self._open(destination.directory)

    def _inputs(self) -> dict[str, Any]:
        """Everything that decides the result."""
        return {
            "checkpoint": {name: digest.sha256 for name, digest in self.checkpoint.digests().items()},
            "quantization": self.quantization,
            "kv_cache": self.cache,
            "dtype": self.dtype,
            "seed": self.seed,
            "samples": len(self.samples),
            "sample_tokens": len(self.samples[0]),
            "token_ids": hashlib.sha256(json.dumps(self.samples).encode()).hexdigest(),
            "program": hashlib.sha256(_PROGRAM.read_bytes()).hexdigest(),
            "requirements": hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest(),
        }

    def _job(self, output: Path) -> dict[str, Any]:
        """The arguments of nvidia_modelopt.main."""
        directory, files = self.checkpoint.directory.resolve(), self.checkpoint.weights.files
        return {
            "files": [str(directory / name) for name in files if name.endswith(".safetensors")],
            "config": transformers_config(self.checkpoint.architecture),
            "source_dtype": self.checkpoint.weights.dtype,
            "dtype": self.dtype,
            "quantization": self.quantization,
            "cache": self.cache,
            "samples": self.samples,
            "seed": self.seed,
            "output": str(output),
        }

    def _open(self, directory: Path) -> Weights:
        """Open modelopt's tensors, which must be exactly those that the model needs."""
        found = Weights(directory, ALL_DTYPES)
        present = {name: (tensor.dtype, tensor.shape) for name, tensor in found.tensors.items()}
        needed = {
            tensor.name: (tensor.dtype or STORED[self.dtype], tensor.shape)
            for tensor in rank_tensors(
                self.checkpoint.architecture, Parallel(), 0, self.quantization, self.cache
            )
            if tensor.blocks[0].source.startswith("transformer.")
        }
        if present != needed:
            name = min(
                name for name in present.keys() | needed.keys() if present.get(name) != needed.get(name)
            )
            raise BuildError(
                f"{directory}: {name} should be {needed.get(name)} and is {present.get(name)}; remove the "
                "folder and convert again."
            )
        return found


def _folder(inputs: dict[str, Any]) -> Path:
    return KEPT / hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def _samples(checkpoint: Checkpoint, text: CalibrationText) -> tuple[tuple[int, ...], ...]:
    """Token ids of pieces of the text; each starts with BOS if the tokenizer adds one."""
    context = checkpoint.architecture.context
    if text.sample_tokens > context:
        raise BuildError(
            f"--sample-tokens {text.sample_tokens} is more than the model's context of {context} "
            "tokens; give no more than that."
        )
    tokenizer = Tokenizer.load(checkpoint.directory)
    bos, ids = _bos(tokenizer), tokenizer.encode(read_text(text.path))
    ids = ids[len(bos) :]
    length = text.sample_tokens - len(bos)
    available = len(ids) // length
    samples = text.samples or max(1, min(available, MAX_SAMPLES))
    if available < samples:
        count = "1 sample" if samples == 1 else f"{samples} samples"
        raise BuildError(
            f"{text.path} is too short: {count} of {text.sample_tokens} tokens need "
            f"{samples * length:,} tokens and it has {len(ids):,}; give a longer text (--calibration), fewer "
            "--samples or --sample-tokens."
        )
    chosen = sorted(random.Random(text.seed).sample(range(available), samples))
    return tuple((*bos, *ids[index * length : (index + 1) * length]) for index in chosen)


def _bos(tokenizer: Tokenizer) -> list[int]:
    """BOS, if the tokenizer puts it in front of a text."""
    bos = None if tokenizer.bos_token is None else tokenizer.encoder.token_to_id(tokenizer.bos_token)
    return [bos] if bos is not None and tokenizer.encode("")[:1] == [bos] else []


def _run(job: Path, log: Path) -> None:
    """Run the program, with a progress bar for each step that it reports."""
    # -I: nothing of the checkout is on its path.
    command = [str(ENVIRONMENT / "bin" / "python"), "-I", str(_PROGRAM), str(job)]
    advance: Callable[[float], None]
    with ExitStack() as shown:

        def on_line(line: bytes) -> None:
            nonlocal advance
            if not line.startswith((b'{"step"', b'{"advance"')):
                return
            report = json.loads(line)
            if "step" in report:
                shown.close()
                advance = shown.enter_context(progress.step(report["step"], report["total"]))
            else:
                advance(report["advance"])

        program.run("modelopt", command, log, on_line)
    log.unlink()


def _check_scales(weights: Weights) -> None:
    for name, tensor in weights.tensors.items():
        if name.endswith("scaling_factor"):
            values = np.concatenate([piece.astype(np.float32).ravel() for _, piece in weights.pieces(name)])
            if not (np.isfinite(values).all() and (values > 0).all()):
                raise BuildError(
                    f"The calibration gave {name} ({tensor.dtype}) numbers that are infinite, NaN or not "
                    "positive; give --dtype bfloat16, or a text more like what the model will read."
                )
