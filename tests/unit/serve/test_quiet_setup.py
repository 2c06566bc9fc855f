"""requirements/quietly, which `make setup` runs pip with."""

import subprocess
from pathlib import Path

from support.paths import ROOT


def quietly(log: Path, script: str) -> subprocess.CompletedProcess[str]:
    words = [ROOT / "requirements" / "quietly", "Installing packages", log, "sh", "-c", script]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def test_a_command_that_ends_well_shows_a_line_and_its_time(tmp_path: Path) -> None:
    done = quietly(log := tmp_path / "logs" / "setup.log", "echo many lines")
    assert done.returncode == 0
    assert done.stdout == ""
    first, last = done.stderr.splitlines()
    assert first == f"Installing packages (log: {log})"
    assert last.startswith("Done in ")
    assert log.read_text() == "many lines\n"


def test_a_command_that_fails_names_its_log_and_shows_the_error(tmp_path: Path) -> None:
    script = "echo Collecting; echo 'ERROR: No matching distribution' >&2; echo bye; exit 3"
    done = quietly(log := tmp_path / "setup.log", script)
    assert done.returncode == 3
    assert f"The last errors in {log}:\n  ERROR: No matching distribution\n" in done.stderr
    assert "Collecting" not in done.stderr
