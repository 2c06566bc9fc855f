import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.measurement import Distribution, RequestSample, summarize

# Sent one second into the window; text after 0.2, 0.3 and 0.5 s; complete after 0.6 s; five tokens.
ANSWER = RequestSample(
    started_s=1.0, chunks_s=(0.2, 0.3, 0.5), e2e_s=0.6, prompt_tokens=10, output_tokens=5, failure=None
)

seconds = st.floats(min_value=0, max_value=1e4, allow_nan=False)


@st.composite
def samples(draw: st.DrawFn) -> RequestSample:
    chunks = sorted(draw(st.lists(seconds, min_size=1, max_size=20)))
    return RequestSample(
        started_s=draw(st.floats(min_value=-100, max_value=100)),
        chunks_s=tuple(chunks),
        e2e_s=chunks[-1] + draw(seconds),
        output_tokens=draw(st.integers(min_value=len(chunks), max_value=100)),
    )


def test_ttft_is_the_first_text_and_tpot_spreads_the_rest_over_the_other_tokens():
    assert ANSWER.ttft_s == 0.2
    assert ANSWER.tpot_s == pytest.approx((0.6 - 0.2) / 4)


def test_tokens_without_text_count_at_the_end():
    tag = RequestSample(started_s=1.0, chunks_s=(), e2e_s=0.5, output_tokens=1)
    assert (tag.ttft_s, tag.tokens_within(1.4), tag.tokens_within(2.0)) == (None, 0, 1)


def test_chunk_gaps_are_not_tpot():
    assert ANSWER.chunk_gaps_s == pytest.approx((0.1, 0.2))


def test_an_answer_of_one_token_has_no_tpot():
    assert RequestSample(0.0, (0.2,), 0.2, output_tokens=1).tpot_s is None


def test_tokens_count_where_their_chunks_arrive():
    # Chunks at 1.2, 1.3 and 1.5 s, each a third of five tokens: two of them before 1.4 s.
    assert ANSWER.tokens_within(1.4) == pytest.approx(5 * 2 / 3)
    assert ANSWER.tokens_within(2.0) == 5
    assert ANSWER.tokens_within(1.0) == 0


def test_percentiles_interpolate_between_raw_values():
    distribution = Distribution.of([0.1, 0.2, 0.3, 0.4, None])
    assert distribution is not None
    assert distribution.mean == pytest.approx(0.25)
    assert distribution.p50 == pytest.approx(0.25)
    assert distribution.p90 == pytest.approx(0.37)
    assert distribution.p99 == pytest.approx(0.397)


def test_a_run_adds_up():
    warm_up = RequestSample(started_s=-2.0, chunks_s=(0.5,), e2e_s=1.0, output_tokens=100)
    across_the_opening = RequestSample(
        started_s=-0.5, chunks_s=(0.1, 0.9), e2e_s=1.0, prompt_tokens=20, output_tokens=2
    )
    across_the_close = RequestSample(
        started_s=1.8, chunks_s=(0.1, 0.9), e2e_s=1.0, prompt_tokens=30, output_tokens=2
    )
    refused = RequestSample(started_s=1.0, chunks_s=(), e2e_s=0.1, failure="HTTP 429: full")
    summary = summarize(
        [warm_up, across_the_opening, ANSWER, across_the_close, refused, refused], window_s=2.0
    )

    assert summary.requests == 3
    assert summary.failures == {"HTTP 429: full": 2}
    assert summary.output_tokens_per_s == pytest.approx((1 + 5 + 1) / 2)
    assert summary.requests_per_s == pytest.approx(2 / 2)
    assert summary.prompt_tokens_mean == pytest.approx(20)
    assert summary.ttft_s is not None
    assert summary.ttft_s.p50 == pytest.approx(0.1)


def test_answers_that_are_nothing_but_thoughts_count_and_have_no_first_word():
    thoughts = RequestSample(started_s=0.0, chunks_s=(0.1, 0.5), e2e_s=0.6, output_tokens=6)
    worded = RequestSample(started_s=0.0, chunks_s=(0.1, 0.5), e2e_s=0.6, ttfo_s=0.5, output_tokens=6)
    summary = summarize([thoughts, worded], window_s=1.0)
    assert (summary.requests, summary.only_thoughts, summary.output_tokens_per_s) == (2, 1, 12)
    assert summary.ttft_s == Distribution(*[pytest.approx(0.1)] * 4)
    assert summary.ttfo_s == Distribution(*[pytest.approx(0.5)] * 4)
    assert summary.tpot_s == Distribution(*[pytest.approx(0.1)] * 4)


def test_a_run_in_which_nothing_happened_has_no_latencies():
    summary = summarize([], window_s=0.0)
    assert (summary.requests, summary.output_tokens_per_s, summary.ttft_s) == (0, 0.0, None)


@given(st.lists(seconds, min_size=1))
def test_percentiles_are_ordered_and_within_the_range_of_the_values(values: list[float]):
    distribution = Distribution.of(values)
    assert distribution is not None
    assert min(values) <= distribution.p50 <= distribution.p90 <= distribution.p99 <= max(values)


@given(samples(), seconds)
def test_no_window_holds_more_tokens_than_the_answer_has(sample: RequestSample, window: float):
    assert 0 <= sample.tokens_within(window) <= sample.output_tokens
    if sample.started_s + sample.chunks_s[0] >= 0:
        assert sample.tokens_within(sample.ended_s) == pytest.approx(sample.output_tokens)


@given(samples())
def test_ttft_and_tpot_make_up_the_whole_answer(sample: RequestSample):
    if sample.tpot_s is not None:
        assert sample.ttft_s is not None
        whole = sample.ttft_s + sample.tpot_s * (sample.output_tokens - 1)
        assert whole == pytest.approx(sample.e2e_s)
