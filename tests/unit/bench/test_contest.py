import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.contest import Contest, Figure, Point, Sample
from bench.contestant import ContestantFailed, Entry, log_probs_of, seconds_of

FOUR = Point(requests=4, prompt_tokens=128, max_tokens=100)
PREFILL = Point(requests=1, prompt_tokens=512, max_tokens=1)
OURS = Entry("ours", (), ours=True)
ENTRIES = [OURS, Entry("fast", (), ours=False), Entry("slow", (), ours=False)]


def contest(seconds: dict[str, list[float]], failures: dict[str, str] | None = None) -> Contest:
    samples = [
        Sample(name, FOUR, number, value)
        for name, values in seconds.items()
        for number, value in enumerate(values)
    ]
    return Contest(ENTRIES, [FOUR], {}, failures or {}, samples)


def test_throughput_counts_the_output_of_all_requests():
    assert FOUR.tokens_per_s(2.0) == 4 * 100 / 2.0


def test_prefill_counts_the_prompt():
    assert PREFILL.is_prefill
    assert PREFILL.tokens_per_s(0.5) == 1024


def test_a_figure_is_the_median_with_the_lowest_and_the_highest():
    assert contest({"ours": [4.0, 1.0, 2.0]}).throughput("ours", FOUR) == Figure(200.0, 100.0, 400.0)


def test_the_best_peer_is_never_us_and_the_ratio_is_to_it():
    held = contest({"ours": [1.0], "fast": [2.0], "slow": [4.0]})
    assert held.best_peer(FOUR) == "fast"
    assert held.ratio(OURS, FOUR) == Figure(2.0, 2.0, 2.0)


def test_ratios_are_taken_round_by_round_so_a_slow_minute_cancels():
    held = contest({"ours": [1.0, 10.0, 3.0], "fast": [1.5, 15.0, 4.5]})
    ratio = held.ratio(OURS, FOUR)
    assert ratio is not None
    assert (ratio.low, ratio.median, ratio.high) == pytest.approx((1.5, 1.5, 1.5))


def test_an_interrupted_round_counts_for_those_who_ran_it():
    held = contest({"ours": [1.0, 1.0], "fast": [2.0]})
    assert held.ratio(OURS, FOUR) == Figure(2.0, 2.0, 2.0)


def test_who_dropped_out_has_no_figures_and_is_no_ones_best_peer():
    held = contest({"ours": [1.0], "fast": [2.0], "slow": [4.0]}, failures={"fast": "it died"})
    assert held.throughput("fast", FOUR) is None
    assert held.best_peer(FOUR) == "slow"


def read(held: Contest, **perplexities: float) -> Contest:
    """The contest after a text whose perplexity is 10 by the checkpoint; peers may lose 6 %, ours 1 %."""
    held.entries = [replace(entry, may_lose=0.01 if entry.ours else 0.06) for entry in ENTRIES]
    held.checkpoint_perplexity = 10.0
    held.perplexities = perplexities
    return held


def test_a_peer_that_lost_quality_is_no_ones_best_peer():
    held = read(contest({"ours": [1.0], "fast": [2.0], "slow": [4.0]}), ours=10.05, fast=10.7, slow=10.5)
    assert held.best_peer(FOUR) == "slow"
    assert held.ratio(held.entries[0], FOUR) == Figure(4.0, 4.0, 4.0)
    assert held.ratio(held.entries[1], FOUR) is None
    assert held.throughput("fast", FOUR) is not None, "it is still shown"


def test_our_own_speed_does_not_count_either_when_quality_was_lost():
    held = read(contest({"ours": [1.0], "fast": [2.0]}), ours=10.2, fast=10.0)
    assert held.ratio(held.entries[0], FOUR) is None
    assert held.loss("ours") == pytest.approx(0.02)


def test_without_a_text_every_speed_counts():
    held = read(contest({"ours": [1.0], "fast": [2.0]}))
    held.checkpoint_perplexity = None
    assert held.ratio(OURS, FOUR) == Figure(2.0, 2.0, 2.0)


def test_an_engine_behind_its_servers_is_compared_with_the_same_engine_in_process():
    behind = Entry("ours, local", (), ours=True, behind="ours")
    held = contest({"ours": [1.0, 2.0], "ours, local": [2.0, 4.0], "fast": [0.1]})
    assert held.ratio(behind, FOUR) == Figure(0.5, 0.5, 0.5)


def test_without_peers_there_is_no_ratio():
    assert contest({"ours": [1.0]}).ratio(OURS, FOUR) is None


@given(st.lists(st.floats(0.01, 1e3), min_size=1))
def test_the_median_lies_between_the_lowest_and_the_highest(values: list[float]):
    figure = Figure.of(values)
    assert figure is not None
    assert figure.low <= figure.median <= figure.high


def test_an_answer_of_the_right_length_gives_its_seconds():
    assert seconds_of('{"tokens": [8, 8], "seconds": 0.5}', prompts=2, max_tokens=8) == 0.5


@pytest.mark.parametrize("tokens", [[8, 7], [8], [8, 8, 8], []])
def test_answers_of_another_length_are_found_out(tokens: list[int]):
    with pytest.raises(ContestantFailed, match="instead of 8 for each of 2"):
        seconds_of(json.dumps({"tokens": tokens, "seconds": 1.0}), prompts=2, max_tokens=8)


@pytest.mark.parametrize("line", ["Loading model...", "[1, 2]", '{"seconds": 1.0}', "7"])
def test_a_line_that_is_no_answer_is_named(line: str):
    with pytest.raises(ContestantFailed, match="is not JSON with 'tokens' in it"):
        seconds_of(line, prompts=1, max_tokens=8)


def test_a_foretold_window_gives_a_log_probability_for_each_token_but_the_first():
    assert log_probs_of('{"log_probs": [-0.5, 0, -20.25]}', tokens=3) == [-0.5, 0.0, -20.25]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"log_probs": [-0.5]}', "foretold 1 tokens instead of 2"),
        ('{"log_probs": [-0.5, NaN]}', "log-probability nan"),
        ('{"log_probs": [-0.5, -Infinity]}', "log-probability -inf"),
        ('{"log_probs": [-0.5, 0.9]}', "log-probability 0.9"),
        ('{"tokens": [1], "seconds": 0.5}', "is not JSON with 'log_probs' in it"),
    ],
    ids=["too few", "no number", "impossible token", "a probability above 1", "another answer"],
)
def test_what_is_no_log_probability_is_found_out(line: str, says: str):
    with pytest.raises(ContestantFailed, match=says):
        log_probs_of(line, tokens=2)
