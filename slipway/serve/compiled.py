"""The TensorRT-LLM engines of a model repository; read by `tritonserver` to know their processes."""

import re
from contextlib import suppress
from pathlib import Path

from slipway.contract.errors import EngineRefused
from slipway.contract.manifest import Manifest
from slipway.contract.stage_names import preprocessing
from slipway.triton.repository import root_of

# As `slipway.triton.config` writes it: the value is on the line after the key.
_ENGINE_DIR = re.compile(r'key: "engine_dir"\s+value \{ string_value: "((?:[^"\\]|\\.)*)" \}')


def compiled(repository: Path) -> list[Manifest]:
    """Their manifests, by name."""
    found = []
    for path in sorted(repository.glob(f"{preprocessing('*')}/config.pbtxt")):
        written = _ENGINE_DIR.search(path.read_text(encoding="utf-8"))
        if written is None:
            continue
        directory = root_of(repository) / re.sub(r"\\(.)", r"\1", written[1])
        # One that is refused has no processes; its stage says why when Triton loads it.
        with suppress(EngineRefused):
            manifest = Manifest.read(directory)
            if manifest.target.compiled:
                found.append(manifest)
    return found
