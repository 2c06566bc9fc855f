import math
from typing import Any

import numpy as np
import pytest

from build.checkpoint.rope import Rope
from slipway.contract.errors import CheckpointError

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({"rope_theta": 5e5}, {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}),
        ({"rope_theta": 5e5, "rope_scaling": None}, {"rope_parameters": {"rope_theta": 5e5}}),
        (
            {"rope_theta": 1e5, "rope_scaling": {"type": "linear", "factor": 4.0}},
            {"rope_parameters": {"rope_theta": 1e5, "rope_type": "linear", "factor": 4.0}},
        ),
        ({"rope_theta": 5e5, "rope_scaling": LLAMA3}, {"rope_parameters": {**LLAMA3, "rope_theta": 5e5}}),
    ],
)
def test_both_spellings_mean_the_same(older: dict[str, Any], newer: dict[str, Any]) -> None:
    assert Rope.parse(older, "config.json") == Rope.parse(newer, "config.json")


@pytest.mark.parametrize(
    "config", [{}, {"rope_parameters": {"rope_type": "default"}}, {"rope_scaling": None}]
)
def test_a_missing_base_is_refused_not_guessed(config: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"has no rope base.*rope_theta"):
        Rope.parse(config, "config.json")


def test_an_unknown_scaling_is_refused() -> None:
    with pytest.raises(CheckpointError, match="scaling 'yarn'; supported are default, linear, llama3"):
        Rope.parse({"rope_theta": 1e4, "rope_scaling": {"rope_type": "yarn", "factor": 4}}, "config.json")


@pytest.mark.parametrize("missing", ["factor", "low_freq_factor", "original_max_position_embeddings"])
def test_half_a_scaling_is_refused(missing: str) -> None:
    scaling = {name: value for name, value in LLAMA3.items() if name != missing}
    with pytest.raises(CheckpointError, match=f"without {missing}"):
        Rope.parse({"rope_theta": 1e4, "rope_scaling": scaling}, "config.json")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rope_theta": "high"}, "rope_theta 'high', which must be a number above 0"),
        ({"rope_theta": 0}, "rope_theta 0, which"),
        ({"rope_scaling": "linear"}, "rope_scaling 'linear', which is not an object"),
        ({"rope_scaling": {"type": "linear", "factor": None}}, "factor None, which"),
        ({"rope_scaling": {**LLAMA3, "low_freq_factor": 4.0}}, "low_freq_factor 4, which must be below"),
    ],
)
def test_what_is_no_scaling_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=f"config.json has {words}"):
        Rope.parse({"rope_theta": 1e4} | changes, "config.json")


def test_the_first_pair_turns_one_radian_per_position() -> None:
    cos, sin = Rope("default", theta=1e4).tables(positions=8, head_dim=64)
    assert cos.shape == sin.shape == (8, 32)
    assert cos[:, 0] == pytest.approx(np.cos(np.arange(8)))
    assert sin[:, 0] == pytest.approx(np.sin(np.arange(8)))


def test_linear_scaling_slows_every_pair_alike() -> None:
    plain, stretched = Rope("default", 1e4), Rope("linear", 1e4, factor=4.0)
    assert stretched.frequencies(64) == pytest.approx(plain.frequencies(64) / 4)


def test_llama3_scaling_keeps_the_fast_pairs_and_slows_the_slow_ones() -> None:
    plain = Rope("default", 5e5).frequencies(128)
    scaled = Rope.parse({"rope_theta": 5e5, "rope_scaling": LLAMA3}, "config.json").frequencies(128)
    wavelength = 2 * math.pi / plain
    fast, slow = wavelength < 8192 / 4, wavelength > 8192 / 1
    assert scaled[fast] == pytest.approx(plain[fast])
    assert scaled[slow] == pytest.approx(plain[slow] / 8)
    between = ~fast & ~slow
    assert np.all(scaled[between] < plain[between])
    assert np.all(scaled[between] > plain[between] / 8)
