import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support import tiny_checkpoints as tiny
from support.command import called

from build import summary
from build.__main__ import app
from build.checkpoint.architecture import Architecture
from build.checkpoint.checkpoint import Checkpoint
from build.onnx import memory

LLAMA3_8B = {
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}


@pytest.fixture
def llama3_8b(tmp_path: Path) -> Architecture:
    tiny.write_config(tmp_path, **LLAMA3_8B)
    return Architecture.read(tmp_path / "config.json")


def test_the_formulas_give_what_is_known_of_llama_3_8b(llama3_8b: Architecture) -> None:
    parameters = 8_030_261_248
    assert memory.weight_bytes(llama3_8b, "none") == pytest.approx(2 * parameters, rel=1e-3)
    table = 4 * 128256 * 4096
    quantized = parameters - 128256 * 4096
    kept = 32 * 4096 * 14336 + 128256 * 4096
    assert memory.weight_bytes(llama3_8b, "int4") == pytest.approx(
        quantized * 0.625 + kept * 0.5 + (quantized - kept) * 4 / 32 * 0.5 + table, rel=1e-3
    )
    assert memory.weight_bytes(llama3_8b, "int8") == pytest.approx(quantized + kept / 8 + table, rel=1e-3)
    assert memory.kv_bytes_per_token(llama3_8b, 2) == 128 * 1024


def test_only_int4_shares_a_tied_embedding_with_the_output(llama3_8b: Architecture) -> None:
    tied = replace(llama3_8b, tied=True)
    table = 4 * 128256 * 4096
    assert memory.weight_bytes(llama3_8b, "int4") - memory.weight_bytes(tied, "int4") == table
    assert memory.weight_bytes(llama3_8b, "int8") == memory.weight_bytes(tied, "int8")


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_summary_has_what_a_person_asks_for(tmp_path: Path, width: int) -> None:
    checkpoint = Checkpoint.open(tiny.write(tmp_path / "model"))
    page = io.StringIO()
    summary.show(checkpoint, Console(file=page, width=width))
    shown = page.getvalue()
    for fact in ("LlamaForCausalLM", "BF16", "256 tokens", "base 10000", "264 rows", "257", "int4"):
        assert fact in shown
    assert "chat template   yes" in shown


def test_a_refusal_is_one_sentence_on_stderr_and_status_1(tmp_path: Path) -> None:
    tiny.write(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()
    ran = called(app, "inspect", str(tmp_path / "model"))
    assert ran.exit_code == 1
    assert ran.stdout == ""
    assert len(ran.stderr.splitlines()) == 1
    assert "tokenizer.json is missing" in ran.stderr
