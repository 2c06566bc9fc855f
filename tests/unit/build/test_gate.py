"""What goes to 4 bits is decided by what it was measured to cost."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import tiny_checkpoints as tiny

from build.checkpoint.checkpoint import Checkpoint
from build.openvino.divergence import divergences
from build.openvino.gate import Unit, units, within
from build.openvino.gptq import Rounded

UNITS = st.lists(
    st.builds(Unit, st.just("qkv"), st.just(range(1)), st.floats(1e-6, 0.1), st.integers(1, 10**9)),
    max_size=20,
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return Checkpoint.open(tiny.write(tmp_path_factory.mktemp("gate") / "tiny"))


@given(UNITS, st.floats(0, 0.2))
def test_what_is_taken_keeps_to_the_loss_and_nothing_that_fits_is_left(
    found: list[Unit], most: float
) -> None:
    taken = within(found, most)
    spent = sum(unit.loss for unit in taken)
    assert spent <= most + 1e-9
    assert all(spent + unit.loss > most - 1e-9 for unit in found if unit not in taken)


def test_the_cheapest_weights_go_first() -> None:
    dear, cheap = Unit("down", range(2), 0.01, 1000), Unit("gate_up", range(2), 0.015, 3000)
    assert within([dear, cheap], 0.02) == [cheap]
    assert within([dear, cheap], 0.03) == [cheap, dear]


def test_each_matrix_whose_rows_divide_into_groups_is_rounded_and_measured(checkpoint: Checkpoint) -> None:
    kept: dict[str, Rounded] = {}
    found = units(checkpoint, kept.__setitem__)
    # The down projections read 96 channels, which is no multiple of 64.
    assert {(unit.kind, unit.layers) for unit in found} == {
        (kind, range(layer, layer + 1)) for kind in ("qkv", "o", "gate_up") for layer in range(2)
    }
    assert set(kept) == {f"layers.{layer}.{kind}" for kind in ("qkv", "o", "gate_up") for layer in range(2)}
    assert kept["layers.1.gate_up"].codes.shape == (192, 1, 64)
    assert all(0 < unit.loss < 0.1 for unit in found)
    assert {unit.weights for unit in found if unit.kind == "o"} == {64 * 64}


def test_divergence_is_that_of_the_whole_distributions(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("build.checkpoint.weights._PIECE", 5000)  # several pieces of the lm_head
    random = np.random.default_rng(0)
    hidden = random.normal(0, 30, (3, 7, 64)).astype(np.float32)
    hidden[1] = hidden[0]
    table = checkpoint.weights.read("model.embed_tokens.weight").astype(np.float64)
    logits = hidden.astype(np.float64) @ table.T
    logs = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
    logs -= logits.max(-1, keepdims=True)
    expected = (np.exp(logs[0]) * (logs[0] - logs[1:])).sum(-1).mean(-1)
    np.testing.assert_allclose(divergences(checkpoint, hidden[0], hidden[1:]), expected, rtol=1e-4, atol=1e-5)


def test_a_model_too_narrow_for_groups_has_nothing_to_offer(tmp_path: Path) -> None:
    tiny.write(tmp_path)
    narrow = {**tiny.CONFIG, "hidden_size": 48, "intermediate_size": 96}
    tiny.write_config(tmp_path, **narrow)
    tiny.write_weights(tmp_path, tiny.tensors(narrow))
    assert units(Checkpoint.open(tmp_path), dict[str, Rounded]().__setitem__) == []
