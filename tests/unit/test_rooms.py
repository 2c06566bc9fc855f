"""Who may import whom: the rooms of the design, held by reading the code's own imports."""

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAY_IMPORT: dict[str, set[str]] = {
    "engines": set(),
    "text": {"engines"},
    "runtime": {"engines", "text"},
    "ensemble": {"engines", "text", "runtime"},
    "gateway": {"engines", "text", "runtime"},
    "build": {"engines", "ensemble", "text"},
    "deploy": {"engines"},
    "client": set(),
    "bench": set(),
}
HEAVY = {"torch", "transformers", "accelerate", "gguf", "onnx", "onnxruntime_genai"}
# Each runs in a process of its own, to measure just such a package.
PEERS = set((ROOT / "bench" / "peers").glob("*.py"))
# Loaded for engines of a GPU alone, which bring the package along.
GENERATORS = ROOT / "runtime" / "generator_executor.py"


@cache
def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_the_design_allows(room: str) -> None:
    files = list((ROOT / room).glob("**/*.py"))
    assert files, f"{room}/ holds no code"
    for path in files:
        forbidden = _imports(path) & set(MAY_IMPORT) - {room} - MAY_IMPORT[room]
        assert not forbidden, f"{path.relative_to(ROOT)} imports {forbidden}"


@pytest.mark.parametrize("room", set(MAY_IMPORT) - {"build"})
def test_heavy_packages_stay_in_build(room: str) -> None:
    for path in set((ROOT / room).glob("**/*.py")) - PEERS:
        heavy = _imports(path) & (HEAVY - {"onnxruntime_genai"} if path == GENERATORS else HEAVY)
        assert not heavy, f"{path.relative_to(ROOT)} imports {heavy}"


def test_nobody_imports_a_peer() -> None:
    for room in MAY_IMPORT:
        for path in set((ROOT / room).glob("**/*.py")) - PEERS:
            assert not re.search(r"^\s*(from|import) bench\.peers", path.read_text(), re.MULTILINE), path


def test_every_room_is_known_to_this_test() -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert rooms == set(MAY_IMPORT)
    assert not rooms & set(sys.stdlib_module_names)
