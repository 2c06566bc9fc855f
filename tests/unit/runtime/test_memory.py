from pathlib import Path

import psutil
import pytest

from slipway.runtime import memory

MIB = 1 << 20


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A container of 900 MiB: 300 are the program's, 400 were read from files, 50 of those are mapped."""
    monkeypatch.setattr(memory, "_CONTAINER", tmp_path)
    pages = {"anon": 300, "file": 400, "file_mapped": 50, "inactive_file": 150, "active_file": 250}
    (tmp_path / "memory.max").write_text(f"{900 * MIB}\n")
    (tmp_path / "memory.current").write_text(f"{700 * MIB}\n")
    (tmp_path / "memory.stat").write_text("".join(f"{name} {size * MIB}\n" for name, size in pages.items()))
    return tmp_path


@pytest.mark.usefixtures("container")
def test_a_container_may_use_what_its_limit_leaves_and_what_it_merely_read_is_given_back() -> None:
    assert memory.available_bytes() == (900 - 700 + 400 - 50) * MIB


def test_shared_memory_that_is_mapped_is_not_taken_for_files_that_were_read(container: Path) -> None:
    pages = f"file_mapped {500 * MIB}\ninactive_file 0\nactive_file {9 * MIB}\n"
    (container / "memory.stat").write_text(pages)
    assert memory.available_bytes() == 200 * MIB


def test_a_container_over_its_limit_has_nothing_left(container: Path) -> None:
    (container / "memory.current").write_text(f"{2000 * MIB}\n")
    assert memory.available_bytes() == 0


@pytest.mark.parametrize("limit", ["max\n", f"{1 << 50}\n"])
def test_without_a_limit_of_its_own_it_is_the_machine_that_counts(container: Path, limit: str) -> None:
    (container / "memory.max").write_text(limit)
    assert memory.available_bytes() == pytest.approx(psutil.virtual_memory().available, rel=0.1)
