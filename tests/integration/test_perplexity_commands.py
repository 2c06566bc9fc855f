"""What quantization cost, as a person measures it: an engine held against its checkpoint's score."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

# About 200 tokens, and the same whatever becomes of the docs.
TEXT = (ROOT / "tests" / "support" / "prose.txt").read_text()[:700]


def _run(*command: object, status: int = 0) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", *map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert ran.returncode == status, ran.stdout + ran.stderr
    return ran.stdout if status == 0 else ran.stderr


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("perplexity") / "text"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def reference(text: Path, checkpoint_dir: Path) -> Path:
    path = text.parent / "reference"
    assert "perplexity " in _run("build", "perplexity", checkpoint_dir, text, "--output", path)
    return path


@pytest.mark.parametrize(
    ("engine", "loss", "same"),
    [("int8_engine_dir", 1.03, 85), ("engine_dir", 1.1, 65), ("openvino_engine_dir", 1.03, 85)],
)
def test_an_engine_scores_a_text_nearly_as_well_as_its_checkpoint(
    engine: str, loss: float, same: int, text: Path, reference: Path, request: pytest.FixtureRequest
) -> None:
    directory = request.getfixturevalue(engine)
    said = _run("slipway", "perplexity", directory, text, "--reference", reference)
    ratio = re.search(r"^([\d.]+) times the reference's", said, re.MULTILINE)
    agreement = re.search(r"likeliest token in ([\d.]+)%", said)
    assert ratio
    assert agreement
    assert 0.97 < float(ratio[1]) < loss
    assert float(agreement[1]) > same


def test_a_text_that_is_none_is_refused_in_one_sentence(engine_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    said = _run("slipway", "perplexity", engine_dir, tmp_path / "empty", status=1)
    assert said.endswith(
        "The text has fewer than two tokens, so there is nothing to score; give a longer one.\n"
    )
