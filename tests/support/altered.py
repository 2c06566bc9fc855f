"""Copies of a built engine with another manifest."""

import json
from pathlib import Path

from support.linked import linked

from slipway.runtime.memory import available_bytes

BYTES_PER_TOKEN = 2 * 30 * 3 * 64 * 4  # keys and values, layers, heads of 64, fp32


def altered(engine_dir: Path, directory: Path, **changes: object) -> Path:
    """The same engine in `directory`, with `changes` to engine.json."""
    directory.mkdir()
    for path in engine_dir.iterdir():
        if path.name != "engine.json":
            linked(path, directory / path.name)
    manifest = json.loads((engine_dir / "engine.json").read_text())
    (directory / "engine.json").write_text(json.dumps(manifest | changes))
    return directory


def memory_for(tokens: int) -> dict[str, object]:
    """Changes to the sample's manifest: memory for about `tokens` tokens, and sequences of at most 300."""
    share = tokens * BYTES_PER_TOKEN / available_bytes()
    limits = {"max_batch_size": 16, "max_input_len": 299, "max_seq_len": 300}
    return {"kv_cache": {"memory_share": share}, "limits": limits}
