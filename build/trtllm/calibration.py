"""What a calibrated quantization starts from: scaling factors and weights of one rank; called by `convert`.

NVIDIA's modelopt makes them (`nvidia_modelopt`, in an environment of its own). They are kept in a folder that
is named by all that they depend on, the share of each GPU not among it: other ranks start from the same.
"""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from build import program, progress
from build.checkout import CACHE, CALIBRATION_TEXT, CHECKOUT
from build.checkpoint.architecture import Architecture
from build.checkpoint.checkpoint import Checkpoint
from build.checkpoint.weights import ALL_DTYPES, Weights
from build.destination import Destination
from build.trtllm.config import rotary_scaling
from build.trtllm.mapping import Mapping
from build.trtllm.rank_tensors import rank_tensors
from slipway.contract.errors import BuildError
from slipway.contract.quantization import CALIBRATED, CacheQuantization, Quantization
from slipway.contract.recipe import Dtype
from slipway.text.file import read_text
from slipway.text.tokenizer import Tokenizer

ENVIRONMENT = CACHE / "modelopt"
KEPT = CACHE / "calibrated"
DEFAULT_TEXT = CALIBRATION_TEXT
MOST_SAMPLES = 128
_PROGRAM = Path(__file__).with_name("nvidia_modelopt.py")
_REQUIREMENTS = CHECKOUT / "requirements" / "modelopt.txt"
_FILE = "calibrated.safetensors"
_MADE_FROM = "calibration.json"
_TORCH_NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


@dataclass(frozen=True, slots=True)
class Calibration:
    """Which text a calibration reads.

    samples: pieces of the text, drawn by `seed`; None is as many as it holds, at most MOST_SAMPLES.
    sample_tokens: length of each.
    """

    text: Path = DEFAULT_TEXT
    samples: int | None = None
    sample_tokens: int = 256
    seed: int = 0


def needed(form: Quantization, cache: CacheQuantization) -> bool:
    """Whether this quantization needs a calibration; int8 and int4 do not, trtllm-build makes them."""
    return form in CALIBRATED or cache != "none"


@dataclass(frozen=True, slots=True)
class Run:
    """One calibration of a checkpoint.

    form: one of CALIBRATED, or none where keys and values alone are calibrated. dtype: of prequant scaling
    factors. samples: token ids, one sequence each.
    """

    checkpoint: Checkpoint
    form: Quantization
    cache: CacheQuantization
    dtype: Dtype
    samples: tuple[tuple[int, ...], ...]
    seed: int

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        form: Quantization,
        cache: CacheQuantization,
        dtype: Dtype,
        calibration: Calibration,
    ) -> Self:
        """Read the text; nothing is calibrated yet.

        Raises BuildError when the text is too short, with the tokens it needs and has, or a sample is longer
        than the model's context.
        """
        samples = _samples(checkpoint, calibration)
        form = form if form in CALIBRATED else "none"
        return cls(checkpoint, form, cache, dtype, samples, calibration.seed)

    @property
    def directory(self) -> Path:
        """Where the result is kept; reads the whole checkpoint."""
        return _place(self._made_from())

    def obtain(self) -> Weights:
        """The calibrated tensors of the whole model, those of an earlier run if it was the same.

        Raises BuildError when the environment is missing, modelopt fails, or what it leaves is not what the
        model needs.
        """
        made_from = self._made_from()
        destination = Destination(_place(made_from))
        with destination.locked():
            if destination.directory.exists():
                progress.say(f"Using the calibration of an earlier run, {destination.directory}.")
                return self._opened(destination.directory)
            if not ((ENVIRONMENT / ".ready").is_file() and (ENVIRONMENT / "bin" / "python").exists()):
                raise BuildError(
                    "A calibration needs NVIDIA's modelopt, which is not installed here; `make "
                    "setup-modelopt` does it, in an environment of its own. In a container, run `python -m "
                    "build convert` with the same options outside first: what it calibrates is found."
                )
            with progress.step("Checking for NaN and Inf", self.checkpoint.size, "bytes") as advance:
                for size in self.checkpoint.check_finite():
                    advance(size)
            with destination.workplace() as work:
                made = work / "calibrated"
                made.mkdir()
                job = work / "job.json"
                job.write_text(json.dumps(self._job(made / _FILE)), encoding="utf-8")
                _run(job, destination.log)
                _check_numbers(self._opened(made))
                (made / _MADE_FROM).write_text(json.dumps(made_from, indent=2), encoding="utf-8")
                destination.put(made)
            return self._opened(destination.directory)

    def _made_from(self) -> dict[str, Any]:
        """All that the result depends on."""
        return {
            "checkpoint": {name: digest.sha256 for name, digest in self.checkpoint.digests().items()},
            "quantization": self.form,
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
        """The arguments of nvidia_modelopt's `main`."""
        directory, files = self.checkpoint.directory.resolve(), self.checkpoint.weights.files
        dtypes = Counter(tensor.dtype for tensor in self.checkpoint.weights.tensors.values())
        return {
            "files": [str(directory / name) for name in files if name.endswith(".safetensors")],
            "config": _transformers_config(self.checkpoint.architecture),
            "source_dtype": _TORCH_NAMES[dtypes.most_common(1)[0][0]],
            "dtype": self.dtype,
            "form": self.form,
            "cache": self.cache,
            "samples": self.samples,
            "seed": self.seed,
            "output": str(output),
        }

    def _opened(self, directory: Path) -> Weights:
        """Open what modelopt left, which must be what the model needs, no more and no less."""
        found = Weights(directory, ALL_DTYPES)
        unquantised = {"bfloat16": "BF16", "float16": "F16"}[self.dtype]
        held = {name: (tensor.dtype, tensor.shape) for name, tensor in found.tensors.items()}
        wanted = {
            tensor.name: (tensor.dtype or unquantised, tensor.shape)
            for tensor in rank_tensors(self.checkpoint.architecture, Mapping(), 0, self.form, self.cache)
            if tensor.blocks[0].source.startswith("transformer.")
        }
        if held != wanted:
            name = min(name for name in held.keys() | wanted.keys() if held.get(name) != wanted.get(name))
            raise BuildError(
                f"{directory}: {name} should be {wanted.get(name)} and is {held.get(name)}; remove the "
                "folder and convert again."
            )
        return found


def _place(made_from: dict[str, Any]) -> Path:
    return KEPT / hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]


def _samples(checkpoint: Checkpoint, calibration: Calibration) -> tuple[tuple[int, ...], ...]:
    """Token ids of pieces of the text; each begins as the tokenizer begins a text."""
    context = checkpoint.architecture.context
    if calibration.sample_tokens > context:
        raise BuildError(
            f"--sample-tokens {calibration.sample_tokens} is more than the model's context of {context} "
            "tokens; give no more than that."
        )
    tokenizer = Tokenizer.load(checkpoint.directory)
    first, ids = _beginning(tokenizer), tokenizer.encode(read_text(calibration.text))
    ids = ids[len(first) :]
    length = calibration.sample_tokens - len(first)
    held = len(ids) // length
    samples = calibration.samples or max(1, min(held, MOST_SAMPLES))
    if held < samples:
        count = "1 sample" if samples == 1 else f"{samples} samples"
        raise BuildError(
            f"{calibration.text} is too short: {count} of {calibration.sample_tokens} tokens need "
            f"{samples * length:,} tokens and it has {len(ids):,}; give a longer text (--calibration), fewer "
            "--samples or --sample-tokens."
        )
    chosen = sorted(random.Random(calibration.seed).sample(range(held), samples))
    return tuple((*first, *ids[index * length : (index + 1) * length]) for index in chosen)


def _beginning(tokenizer: Tokenizer) -> list[int]:
    """BOS, if the tokenizer puts one in front of a text."""
    bos = None if tokenizer.bos_token is None else tokenizer.encoder.token_to_id(tokenizer.bos_token)
    return [bos] if bos is not None and tokenizer.encode("")[:1] == [bos] else []


def _transformers_config(model: Architecture) -> dict[str, Any]:
    """config.json as transformers 4 understands it, whichever version wrote the checkpoint's."""
    values = {
        "architectures": [model.name],
        "hidden_size": model.hidden_size,
        "intermediate_size": model.intermediate_size,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "vocab_size": model.vocab_size,
        "max_position_embeddings": model.context,
        "rms_norm_eps": model.norm_epsilon,
        "rope_theta": model.rope.theta,
        "rope_scaling": rotary_scaling(model.rope),
        "tie_word_embeddings": model.tied,
    }
    if model.name == "LlamaForCausalLM":
        values |= {"attention_bias": model.output_bias, "mlp_bias": model.mlp_bias}
    if model.name == "MistralForCausalLM":
        values["sliding_window"] = None  # no sample is longer than it
    return values


def _run(job: Path, log: Path) -> None:
    """Run the program, with a bar for each step it tells of."""
    # -I: nothing of Slipway, whose `build` has modules of common names, is on its path.
    command = [str(ENVIRONMENT / "bin" / "python"), "-I", str(_PROGRAM), str(job)]
    advance: Callable[[float], None]
    with ExitStack() as shown:

        def heard(line: bytes) -> None:
            nonlocal advance
            if not line.startswith((b'{"step"', b'{"advance"')):
                return
            told = json.loads(line)
            if "step" in told:
                shown.close()
                advance = shown.enter_context(progress.step(told["step"], told["total"]))
            else:
                advance(told["advance"])

        program.run("modelopt", command, log, heard)


def _check_numbers(weights: Weights) -> None:
    for name, tensor in weights.tensors.items():
        if name.endswith("scaling_factor"):
            values = np.concatenate([piece.astype(np.float32).ravel() for _, piece in weights.pieces(name)])
            if not (np.isfinite(values).all() and (values > 0).all()):
                raise BuildError(
                    f"The calibration left {name} ({tensor.dtype}) with numbers that are infinite, NaN or "
                    "not positive; give --dtype bfloat16, or a text more like what the model will read."
                )
