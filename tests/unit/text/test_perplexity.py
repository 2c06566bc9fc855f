from pathlib import Path

import numpy as np
import pytest

from slipway.contract.errors import InvalidRequest
from slipway.text.file import read_text
from slipway.text.perplexity import WINDOW, Score, windows


def _score(tokens: int, seed: int = 0) -> Score:
    random = np.random.default_rng(seed)
    return Score.from_logits(
        random.normal(0, 3, (tokens, 50)).astype(np.float32), random.integers(0, 50, tokens)
    )


def test_every_token_but_the_first_of_a_window_is_scored() -> None:
    text = list(range(2 * WINDOW + 2))
    pieces = windows(text)
    assert [len(piece) for piece in pieces] == [WINDOW, WINDOW, 2]
    assert [token for piece in pieces for token in piece] == text


def test_a_last_window_of_one_token_is_left_out() -> None:
    assert [len(piece) for piece in windows(range(WINDOW + 1))] == [WINDOW]


@pytest.mark.parametrize("text", [[], [5]])
def test_a_text_with_nothing_to_score_is_refused(text: list[int]) -> None:
    with pytest.raises(InvalidRequest, match="fewer than two tokens"):
        windows(text)


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary() -> None:
    score = Score.from_logits(np.zeros((7, 50), np.float32), np.arange(7))
    assert score.perplexity == pytest.approx(50)
    assert str(score) == "perplexity 50.0000 over 7 tokens"


def test_log_probabilities_are_those_of_the_softmax_however_large_the_logits() -> None:
    logits = np.random.default_rng(1).normal(1000, 30, (4, 9)).astype(np.float32)
    exact = logits.astype(np.float64) - 1000
    expected = exact[range(4), [8, 0, 3, 3]] - np.log(np.exp(exact).sum(axis=1))
    score = Score.from_logits(logits, np.array([8, 0, 3, 3]))
    np.testing.assert_allclose(score.log_probs, expected, rtol=1e-5)
    np.testing.assert_array_equal(score.likeliest, logits.argmax(axis=1))


def test_a_score_comes_back_from_its_file_and_equals_itself(tmp_path: Path) -> None:
    parts = [_score(5), _score(3, seed=1)]
    whole = Score.concatenate(parts)
    whole.save(tmp_path / "score")
    loaded = Score.load(tmp_path / "score")
    np.testing.assert_array_equal(loaded.log_probs, whole.log_probs)
    assert loaded.against(whole).startswith("1.0000 times")
    assert loaded.against(whole).endswith("the same likeliest token in 100.0%")


def test_scores_of_different_texts_are_not_compared() -> None:
    with pytest.raises(InvalidRequest, match="scores 3 tokens, this one 5"):
        _score(5).against(_score(3))


def test_files_that_are_something_else_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InvalidRequest, match="image is not a score"):
        Score.load(tmp_path / "image")
    with pytest.raises(InvalidRequest, match="nowhere is not a score"):
        Score.load(tmp_path / "nowhere")
    with pytest.raises(InvalidRequest, match="image cannot be read as UTF-8"):
        read_text(tmp_path / "image")
