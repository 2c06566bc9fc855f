"""GPUs by name (gpus.yaml), and the quantizations that TensorRT-LLM has for them."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from slipway.contract.errors import RecipeError
from slipway.contract.quantization import CacheQuantization, Quantization

MIB = 1 << 20
_FILE = Path(__file__).with_name("gpus.yaml")
# Words around a name, as people and nvidia-smi write them, that distinguish no GPU from another.
_NOISE = {
    *("nvidia", "geforce", "tesla", "gpu", "mobile", "tensor", "core", "generation"),
    *("pcie", "sxm", "sxm2", "sxm4", "sxm5", "hbm2", "hbm2e", "hbm3", "hbm3e"),
    *("blackwell", "workstation", "server", "edition"),
}
_SIZE = re.compile(r"([\d.]+)\s*(MiB|MB|GiB|GB|M|G)?", re.IGNORECASE)
# CUDA has less memory than nvidia-smi shows: 79.10 GiB of 81,559 MiB on an H100
# (docs/source/reference/memory.md of TensorRT-LLM), 23.65 GiB of 24,564 MiB on an RTX 4090 (PyTorch's
# out-of-memory message).
_CUDA_SHARE = 0.985

_OLDEST = (8, 0)
# First and last generation with kernels: docs/source/features/quantization.md ("Hardware Support Matrix") of
# TensorRT-LLM 1.2; docs/source/reference/support-matrix.md of 0.18 for plain INT8 and INT4.
_FIRST: dict[Quantization, tuple[int, int]] = {"fp8": (8, 9)}
_LAST: dict[Quantization, int] = {"int8": 9, "int4": 9, "int4-awq": 9, "int8-sq": 9}
# "INT8/INT4 quantization is not supported on SM>=100" and below 120; the same holds for a KV cache in int8
# (build() in tensorrt_llm/builder.py).
_WITHOUT_INTEGERS = range(10, 12)


@dataclass(frozen=True, slots=True)
class Gpu:
    """memory: bytes, as nvidia-smi shows. capability: compute capability (major, minor), None if unknown."""

    name: str
    memory: int
    capability: tuple[int, int] | None

    @property
    def visible(self) -> int:
        """Bytes that CUDA can use, an estimate."""
        return int(self.memory * _CUDA_SHARE)

    def obstacle(self, quantization: Quantization, cache: CacheQuantization = "none") -> str | None:
        """Why the GPU cannot run an engine with this quantization of weights and KV cache, or None."""
        if self.capability is None:
            return None
        if self.capability[0] in _WITHOUT_INTEGERS and (quantization in _LAST or cache == "int8"):
            missing = quantization if quantization in _LAST else "KV cache in int8"
            return f"TensorRT-LLM 1.2.1 has no {missing} for compute capability {self.capability_text}"
        first = _FIRST.get(quantization, _OLDEST)
        if self.capability >= first:
            return None
        needs = f"compute capability {first[0]}.{first[1]} or newer, and {self} has {self.capability_text}"
        return f"TensorRT-LLM 1.2.1 needs {needs}" if first == _OLDEST else f"{quantization} needs {needs}"

    def has_kernels(self, quantization: Quantization) -> bool:
        """Whether NVIDIA lists kernels for `quantization` on a GPU of this generation."""
        return self.capability is None or self.capability[0] <= _LAST.get(quantization, self.capability[0])

    @property
    def capability_text(self) -> str:
        """The compute capability as NVIDIA writes it: 8.9."""
        return ".".join(map(str, self.capability)) if self.capability else "unknown"

    def __str__(self) -> str:
        return self.name


def known() -> list[Gpu]:
    """Every GPU of gpus.yaml, in its order."""
    rows = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    gpus = []
    for row in rows:
        major, minor = row["capability"].split(".")
        gpus.append(Gpu(row["name"], row["memory"] * MIB, (int(major), int(minor))))
    return gpus


def find(query: str) -> Gpu:
    """Find a GPU by a free spelling: "4050", "RTX 4050 Laptop" and "rtx4050 6gb" are the same.

    Of several matches, the name with the fewest words wins.
    Raises RecipeError that lists the names when there is no match, or no single best one.
    """
    words = set(_words(query)) - _NOISE
    gpus = known()
    found = [gpu for gpu in gpus if words <= set(_words(gpu.name))]
    if not found:
        found = [gpu for gpu in gpus if all(word in gpu.name.lower().replace(" ", "") for word in words)]
    if not words or not found:
        raise RecipeError(
            f"--gpu {query!r} is not known; give --gpu-memory 6GB instead, or one of: "
            f"{', '.join(gpu.name for gpu in gpus)}."
        )
    fewest = min(len(_words(gpu.name)) for gpu in found)
    nearest = [gpu for gpu in found if len(_words(gpu.name)) == fewest]
    if len(nearest) > 1:
        raise RecipeError(f"--gpu {query!r} can be {' or '.join(gpu.name for gpu in nearest)}; say which.")
    return nearest[0]


def chosen(name: str | None, memory: str | None) -> Gpu:
    """The GPU of the options --gpu and --gpu-memory; with both, a known GPU with only that much memory free.

    Raises RecipeError when neither is given, or one is unknown.
    """
    if name:
        found = find(name)
        return replace(found, memory=memory_size(memory)) if memory else found
    if memory:
        return Gpu(f"a GPU of {memory}", memory_size(memory), None)
    raise RecipeError("Which GPU? Give --gpu with its name, such as 4050 or H200, or --gpu-memory 6GB.")


def memory_size(text: str) -> int:
    """Bytes of "6GB" or "5.5 GiB"; as in the names of GPUs, a GB has 1,024 MiB.

    Raises RecipeError when the text is not a size.
    """
    matched = _SIZE.fullmatch(text.strip())
    try:
        number = float(matched[1]) if matched else 0.0
    except ValueError:
        number = 0.0
    if matched is None or number <= 0:
        raise RecipeError(f"--gpu-memory {text!r} is not a size; write it like 6GB or 5632MiB.")
    unit = (matched[2] or "G")[0].upper()
    return int(number * (MIB if unit == "M" else 1024 * MIB))


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9.]+", re.sub(r"(\d)\s+(gb|gib)\b", r"\1gb", name.lower()))
