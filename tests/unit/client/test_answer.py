import pytest

from client.answer import StreamedAnswer


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (
            StreamedAnswer("Paris.", 5, 0.5, 0.5, 2.5, "stop"),
            "5 tokens · 2.0 tokens/s · first token after 0.50 s",
        ),
        (StreamedAnswer("Paris", 1, 0.5, 0.5, 0.5, "stop"), "1 token · first token after 0.50 s"),
        (
            StreamedAnswer("a b", 2, 0.5, 0.5, 1.5, "length"),
            "2 tokens · 1.0 tokens/s · first token after 0.50 s · cut off at the token limit (--max-tokens)",
        ),
        (
            StreamedAnswer("Paris.", 5, 0.5, 1.5, 2.5, "stop"),
            "5 tokens · 2.0 tokens/s · first token after 0.50 s · first word after 1.50 s",
        ),
        (
            StreamedAnswer("", None, 0.5, None, 1.0, None),
            "first token after 0.50 s · nothing but thoughts · stopped by you",
        ),
        (StreamedAnswer("a", None, 0.5, 0.5, 1.0, None), "first token after 0.50 s · stopped by you"),
        (StreamedAnswer("", 0, None, None, 0.0, "stop"), "0 tokens"),
    ],
)
def test_the_line_below_an_answer_says_how_fast_and_why_it_ended(answer: StreamedAnswer, line: str):
    assert answer.summary() == line
