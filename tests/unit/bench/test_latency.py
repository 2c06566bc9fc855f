import pytest

from bench.latency import GapRound
from bench.measured_engine import MeasurementFailed, TokenTimes


def test_gaps_count_as_undisturbed_until_the_first_prompt_and_beside_prompts_until_the_last_is_read():
    gaps = GapRound.of(TokenTimes([[1.0, 2.0, 3.0, 5.0, 8.0, 9.0]], [(3.0, 6.0), (6.0, 8.0)]))
    assert gaps.undisturbed_s == [1.0, 1.0]
    assert gaps.beside_prompts_s == [2.0, 3.0]
    assert gaps.ttft_s == [3.0, 2.0]


def test_gaps_before_every_stream_has_started_and_after_one_has_ended_do_not_count():
    early = [1.0, 2.5, 3.0, 4.0, 5.0]
    late = [2.0, 3.0, 4.0, 6.0, 7.0]
    gaps = GapRound.of(TokenTimes([early, late], [(3.0, 4.5), (4.5, 9.0)]))
    assert gaps.undisturbed_s == [0.5, 1.0]
    assert gaps.beside_prompts_s == [1.0, 1.0, 1.0]


def test_streams_that_end_before_a_prompt_is_read_measure_nothing():
    with pytest.raises(MeasurementFailed, match="one of 1 streams ended before the first prompt was read"):
        GapRound.of(TokenTimes([[1.0, 2.0, 3.0]], [(2.0, 3.5)]))
