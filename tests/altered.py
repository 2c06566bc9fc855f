"""Built engines whose manifest says something else."""

import json
from pathlib import Path


def altered(engine_dir: Path, directory: Path, **changes: object) -> Path:
    """The same engine in `directory`, with another engine.json, which no digest covers."""
    directory.mkdir()
    for path in engine_dir.iterdir():
        if path.name != "engine.json":
            (directory / path.name).symlink_to(path.resolve())
    manifest = json.loads((engine_dir / "engine.json").read_text())
    (directory / "engine.json").write_text(json.dumps(manifest | changes))
    return directory
