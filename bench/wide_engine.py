"""A built engine as one with as many slots as there are clients; made by `bench.frontend`.

The gateway lets as many answers through as the engine has slots, and here it is the gateway that is measured.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

_MANIFEST = "engine.json"


@contextmanager
def wide(engine: Path, slots: int) -> Iterator[Path]:
    """A folder of the engine's name, with its files and so many slots, for as long as the block runs."""
    with TemporaryDirectory() as folder:
        copy = Path(folder) / engine.name
        copy.mkdir()
        for path in engine.resolve().iterdir():
            if path.name != _MANIFEST:
                (copy / path.name).symlink_to(path)
        manifest = json.loads((engine / _MANIFEST).read_text(encoding="utf-8"))
        manifest["limits"]["max_batch_size"] = slots
        (copy / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        yield copy
