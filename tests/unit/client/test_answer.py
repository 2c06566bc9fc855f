import pytest

from client.answer import Answer


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (Answer("Paris.", 5, 0.5, 2.5, "stop"), "5 tokens · 2.0 tokens/s · first token after 0.50 s"),
        (Answer("Paris", 1, 0.5, 0.5, "stop"), "1 token · first token after 0.50 s"),
        (
            Answer("a b", 2, 0.5, 1.5, "length"),
            "2 tokens · 1.0 tokens/s · first token after 0.50 s · cut off at the token limit",
        ),
        (Answer("a", None, 0.5, 1.0, None), "first token after 0.50 s · stopped by you"),
        (Answer("", 0, None, 0.0, "stop"), "0 tokens"),
    ],
)
def test_the_line_below_an_answer_says_how_fast_and_why_it_ended(answer: Answer, line: str):
    assert answer.summary() == line
