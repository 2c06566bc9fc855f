import json
import lzma
import stat
from pathlib import Path
from typing import Any

import pytest
from support import converted
from support.architectures import CALIBRATED, CONFIGS
from support.paths import GOLDEN

from build.checkpoint.checkpoint import Checkpoint
from build.trtllm import calibration
from build.trtllm.calibration import Calibration, CalibrationText
from build.trtllm.convert import convert
from slipway.contract.errors import BuildError
from slipway.contract.quantization import CacheQuantization, Quantization
from slipway.contract.recipe import Parallel

LLAMA = CONFIGS["llama-3.1"]  # a context of 256; its tokenizer has a token for each byte, and adds no BOS


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(calibration, "ENVIRONMENT", tmp_path / "modelopt")


def _environment(tmp_path: Path, script: str) -> None:
    """An environment whose Python is a shell script; its second argument is the job."""
    python = tmp_path / "modelopt" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "modelopt" / ".ready").touch()


def _leaves_fp8(tmp_path: Path) -> str:
    """What a calibration of llama-fp8 did once, put where the job says."""
    packed = GOLDEN / "modelopt_calibrated" / "llama-fp8.safetensors.xz"
    (tmp_path / "left").write_bytes(lzma.decompress(packed.read_bytes()))
    return f"cp {tmp_path}/left " + '"$(sed \'s/.*"output": "\\([^"]*\\)".*/\\1/\' "$3")"'


def _checkpoint(tmp_path: Path, **changes: Any) -> Checkpoint:
    converted.write_checkpoint(tmp_path / "checkpoint", LLAMA | changes)
    return Checkpoint.open(tmp_path / "checkpoint")


def _run(checkpoint: Checkpoint, text: Path, **options: Any) -> Calibration:
    return Calibration.of(checkpoint, "fp8", "none", "bfloat16", CalibrationText(text, **options))


def _refused(
    tmp_path: Path,
    quantization: Quantization,
    cache: CacheQuantization = "none",
    parallel: Parallel | None = None,
    **options: Any,
) -> str:
    source, output = tmp_path / "checkpoint", tmp_path / "output"
    calibrated = CalibrationText(**options)
    with pytest.raises(BuildError) as refused:
        convert(source, output, quantization, None, parallel or Parallel(), cache, calibrated)
    assert not output.exists()
    return str(refused.value)


# --- the text ---


def test_the_text_that_ships_is_enough_for_the_defaults(tmp_path: Path) -> None:
    samples = _run(_checkpoint(tmp_path), calibration.DEFAULT_TEXT).samples
    assert len(samples) >= 2
    assert {len(sample) for sample in samples} == {256}


def test_a_text_that_is_too_short_says_what_it_needs_and_has(tmp_path: Path) -> None:
    _checkpoint(tmp_path)
    text = tmp_path / "short.txt"
    text.write_text("a" * 90)
    message = _refused(tmp_path, "fp8", path=text, samples=4, sample_tokens=32)
    assert "short.txt is too short: 4 samples of 32 tokens need 128 tokens and it has 90" in message
    assert "1 sample of 256 tokens need 256 tokens and it has 90" in _refused(tmp_path, "fp8", path=text)
    assert "more than the model's context of 256" in _refused(tmp_path, "fp8", sample_tokens=257)


def test_samples_are_pieces_of_the_text_that_the_seed_draws(tmp_path: Path) -> None:
    checkpoint, text = _checkpoint(tmp_path), tmp_path / "text.txt"
    text.write_text("".join(f"{number:04}" for number in range(100)))
    runs = [_run(checkpoint, text, samples=5, sample_tokens=8, seed=seed) for seed in (0, 0, 1)]
    assert runs[0].samples == runs[1].samples != runs[2].samples
    whole = _run(checkpoint, text, sample_tokens=8).samples
    assert len(whole) == 50
    for run in runs:
        assert len(set(run.samples)) == 5
        assert set(run.samples) <= set(whole)


def test_each_sample_begins_as_the_tokenizer_begins_a_text(tmp_path: Path) -> None:
    _checkpoint(tmp_path)
    path = tmp_path / "checkpoint" / "tokenizer.json"
    definition = json.loads(path.read_text())
    definition["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [256], "tokens": ["<s>"]}},
    }
    path.write_text(json.dumps(definition))
    text = tmp_path / "text.txt"
    text.write_text("abcdefgh" * 10)
    samples = _run(Checkpoint.open(tmp_path / "checkpoint"), text, sample_tokens=9).samples
    assert len(samples) == 10
    assert all(len(sample) == 9 and sample.count(256) == 1 and sample[0] == 256 for sample in samples)


# --- refusals ---


@pytest.mark.parametrize(
    ("changes", "parts", "words"),
    [
        ({"hidden_size": 192}, 1, "attention.qkv.weight is [512, 192] on each of 1"),
        ({"hidden_size": 256, "intermediate_size": 384}, 2, "mlp.proj.weight is [256, 192] on each of 2"),
        ({"hidden_size": 128, "intermediate_size": 352}, 1, "mlp.fc.weight is [352, 128] on each of 1"),
    ],
)
def test_what_groups_cannot_divide_is_refused_before_the_calibration(
    changes: dict[str, Any], parts: int, words: str, tmp_path: Path
) -> None:
    _checkpoint(tmp_path, **{"head_dim": 64, "intermediate_size": 256, **changes})
    message = _refused(tmp_path, "int4-awq", parallel=Parallel(tensor=parts))
    assert words in message
    assert "outputs in multiples of 64 and inputs in multiples of 128" in message
    assert "--quantization int8-sq, fp8 or none" in message
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(("quantization", "cache"), [("fp8", "none"), ("none", "int8")])
def test_without_the_environment_the_error_says_how_to_make_it(
    quantization: Quantization, cache: CacheQuantization, tmp_path: Path
) -> None:
    _checkpoint(tmp_path)
    assert "`make setup-modelopt`" in _refused(tmp_path, quantization, cache)


def test_a_calibration_that_fails_shows_the_end_of_its_words_and_keeps_nothing(tmp_path: Path) -> None:
    _checkpoint(tmp_path)
    _environment(tmp_path, 'echo \'{"step": "Calibrating", "total": 2}\'; echo no room left; exit 3')
    message = _refused(tmp_path, "fp8")
    assert "modelopt ended with exit status 3" in message
    assert message.endswith("no room left")
    assert not [path for path in (tmp_path / "kept").iterdir() if path.is_dir()]


def test_a_result_that_does_not_fit_the_model_is_not_used(tmp_path: Path) -> None:
    converted.write_checkpoint(tmp_path / "checkpoint", CALIBRATED["llama-fp8"][0])
    _environment(tmp_path, _leaves_fp8(tmp_path))
    # With scales for keys and values, which were not asked for.
    message = _refused(tmp_path, "fp8")
    assert "attention.k_cache_scaling_factor should be None and is ('F32', (1,))" in message
    assert not [path for path in (tmp_path / "kept").iterdir() if path.is_dir()]


# --- what is kept ---


def test_other_ranks_start_from_the_same_and_other_options_do_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "checkpoint"
    converted.write_checkpoint(source, CALIBRATED["llama-fp8"][0])
    _environment(tmp_path, f"echo run >> {tmp_path}/runs; {_leaves_fp8(tmp_path)}")
    for parallel, seed in (
        (Parallel(), 0),
        (Parallel(tensor=2), 0),
        (Parallel(tensor=1, pipeline=2), 0),
        (Parallel(), 1),
    ):
        convert(source, tmp_path / "output", "fp8", None, parallel, "fp8", CalibrationText(seed=seed))
    assert (tmp_path / "runs").read_text() == "run\n" * 2
    assert capsys.readouterr().err.count("Using the calibration of an earlier run") == 2


def test_a_calibration_that_was_killed_is_started_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = _checkpoint(tmp_path)
    left = Calibration.of(checkpoint, "fp8", "none", "bfloat16", CalibrationText()).directory
    half = left.parent / f".{left.name}.building" / "tmp1" / "calibrated"
    half.mkdir(parents=True)
    (half / "calibrated.safetensors").write_bytes(b"half")
    _refused(tmp_path, "fp8")
    assert "was interrupted; starting over" in capsys.readouterr().err
    assert not half.exists()
