"""The TensorRT-LLM engines of a model repository; read by `tritonserver` to know their processes."""

import re
from contextlib import suppress
from pathlib import Path

from engines.errors import EngineRefused
from engines.manifest import Manifest
from engines.stages import preprocessing

# As `ensemble.config` writes it: the value is on the line after the key.
_ENGINE_DIR = re.compile(r'key: "engine_dir"\s+value \{ string_value: "((?:[^"\\]|\\.)*)" \}')


def compiled(repository: Path, checkout: Path) -> list[Manifest]:
    """Their manifests, by name. `checkout`: where relative paths in the repository start."""
    found = []
    for path in sorted(repository.glob(f"{preprocessing('*')}/config.pbtxt")):
        written = _ENGINE_DIR.search(path.read_text(encoding="utf-8"))
        if written is None:
            continue
        directory = checkout / re.sub(r"\\(.)", r"\1", written[1])
        # One that is refused has no processes; its stage says why when Triton loads it.
        with suppress(EngineRefused):
            manifest = Manifest.read(directory)
            if manifest.target == "tensorrt-llm":
                found.append(manifest)
    return found
