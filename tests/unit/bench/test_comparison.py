import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.comparison import BatchSample, Comparison, Figure, Workload
from bench.measured_engine import EngineSpec, MeasurementFailed, log_probs_of, seconds_of

FOUR = Workload(requests=4, prompt_tokens=128, max_tokens=100)
PREFILL = Workload(requests=1, prompt_tokens=512, max_tokens=1)
OURS = EngineSpec("ours", (), ours=True)
SPECS = [OURS, EngineSpec("fast", (), ours=False), EngineSpec("slow", (), ours=False)]


def comparison(seconds: dict[str, list[float]], failures: dict[str, str] | None = None) -> Comparison:
    samples = [
        BatchSample(name, FOUR, number, value)
        for name, values in seconds.items()
        for number, value in enumerate(values)
    ]
    return Comparison(SPECS, [FOUR], failures=failures or {}, samples=samples)


def test_throughput_counts_the_output_of_all_requests():
    assert FOUR.tokens_per_s(2.0) == 4 * 100 / 2.0


def test_prefill_counts_the_prompt():
    assert PREFILL.is_prefill
    assert PREFILL.tokens_per_s(0.5) == 1024


def test_a_figure_is_the_median_with_the_lowest_and_the_highest():
    assert comparison({"ours": [4.0, 1.0, 2.0]}).throughput("ours", FOUR) == Figure(200.0, 100.0, 400.0)


def test_the_best_peer_is_never_our_engine_and_the_ratio_is_to_it():
    result = comparison({"ours": [1.0], "fast": [2.0], "slow": [4.0]})
    assert result.best_peer(FOUR) == "fast"
    assert result.ratio(OURS, FOUR) == Figure(2.0, 2.0, 2.0)


def test_ratios_are_taken_round_by_round_so_a_slow_minute_cancels():
    result = comparison({"ours": [1.0, 10.0, 3.0], "fast": [1.5, 15.0, 4.5]})
    ratio = result.ratio(OURS, FOUR)
    assert ratio is not None
    assert (ratio.low, ratio.median, ratio.high) == pytest.approx((1.5, 1.5, 1.5))


def test_an_interrupted_round_counts_for_the_engines_that_ran_it():
    result = comparison({"ours": [1.0, 1.0], "fast": [2.0]})
    assert result.ratio(OURS, FOUR) == Figure(2.0, 2.0, 2.0)


def test_an_engine_that_failed_has_no_figures_and_is_no_best_peer():
    result = comparison({"ours": [1.0], "fast": [2.0], "slow": [4.0]}, failures={"fast": "it died"})
    assert result.throughput("fast", FOUR) is None
    assert result.best_peer(FOUR) == "slow"


def scored(result: Comparison, **perplexities: float) -> Comparison:
    """The comparison with a text: the checkpoint has a perplexity of 10; peers may lose 6 %, ours 1 %."""
    result.specs = [replace(spec, max_loss=0.01 if spec.ours else 0.06) for spec in SPECS]
    result.checkpoint_perplexity = 10.0
    result.perplexities = perplexities
    return result


def test_a_peer_that_lost_quality_is_no_best_peer():
    result = scored(
        comparison({"ours": [1.0], "fast": [2.0], "slow": [4.0]}), ours=10.05, fast=10.7, slow=10.5
    )
    assert result.best_peer(FOUR) == "slow"
    assert result.ratio(result.specs[0], FOUR) == Figure(4.0, 4.0, 4.0)
    assert result.ratio(result.specs[1], FOUR) is None
    assert result.throughput("fast", FOUR) is not None, "it is still shown"


def test_our_own_speed_does_not_count_either_when_quality_was_lost():
    result = scored(comparison({"ours": [1.0], "fast": [2.0]}), ours=10.2, fast=10.0)
    assert result.ratio(result.specs[0], FOUR) is None
    assert result.loss("ours") == pytest.approx(0.02)


def test_without_a_text_every_speed_counts():
    result = scored(comparison({"ours": [1.0], "fast": [2.0]}))
    result.checkpoint_perplexity = None
    assert result.ratio(OURS, FOUR) == Figure(2.0, 2.0, 2.0)


def test_an_engine_behind_its_servers_is_compared_with_the_same_engine_in_process():
    served = EngineSpec("ours, local", (), ours=True, baseline="ours")
    result = comparison({"ours": [1.0, 2.0], "ours, local": [2.0, 4.0], "fast": [0.1]})
    assert result.ratio(served, FOUR) == Figure(0.5, 0.5, 0.5)


def test_without_peers_there_is_no_ratio():
    assert comparison({"ours": [1.0]}).ratio(OURS, FOUR) is None


@given(st.lists(st.floats(0.01, 1e3), min_size=1))
def test_the_median_lies_between_the_lowest_and_the_highest(values: list[float]):
    figure = Figure.of(values)
    assert figure is not None
    assert figure.low <= figure.median <= figure.high


def test_an_answer_of_the_right_length_gives_its_seconds():
    assert seconds_of('{"tokens": [8, 8], "seconds": 0.5}', prompts=2, max_tokens=8) == 0.5


@pytest.mark.parametrize("tokens", [[8, 7], [8], [8, 8, 8], []])
def test_answers_of_another_length_are_found_out(tokens: list[int]):
    with pytest.raises(MeasurementFailed, match="instead of 8 for each of 2"):
        seconds_of(json.dumps({"tokens": tokens, "seconds": 1.0}), prompts=2, max_tokens=8)


@pytest.mark.parametrize("line", ["Loading model...", "[1, 2]", '{"seconds": 1.0}', "7"])
def test_a_line_that_is_no_answer_is_named(line: str):
    with pytest.raises(MeasurementFailed, match="is not JSON with the field 'tokens'"):
        seconds_of(line, prompts=1, max_tokens=8)


def test_a_scored_window_gives_a_log_probability_for_each_token_but_the_first():
    assert log_probs_of('{"log_probs": [-0.5, 0, -20.25]}', tokens=3) == [-0.5, 0.0, -20.25]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"log_probs": [-0.5]}', "scored 1 tokens instead of 2"),
        ('{"log_probs": [-0.5, NaN]}', "log-probability nan"),
        ('{"log_probs": [-0.5, -Infinity]}', "log-probability -inf"),
        ('{"log_probs": [-0.5, 0.9]}', "log-probability 0.9"),
        ('{"tokens": [1], "seconds": 0.5}', "is not JSON with the field 'log_probs'"),
    ],
    ids=["too few", "no number", "impossible token", "a probability above 1", "another answer"],
)
def test_what_is_no_log_probability_is_found_out(line: str, says: str):
    with pytest.raises(MeasurementFailed, match=says):
        log_probs_of(line, tokens=2)
