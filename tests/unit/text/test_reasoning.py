"""What a model thinks in tags is kept apart from what it says, wherever the pieces break."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.text.answer_parser import AnswerParser
from slipway.text.parts import AnswerReasoning, AnswerText, CallArguments, CallStart, Part, merged
from slipway.text.reasoning import ReasoningSplitter, thinks
from slipway.text.tool_calls.hermes import HermesParser

OUTSIDE, INSIDE = "<|im_start|>assistant\n", "<|im_start|>assistant\n<think>\n"
CALL = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'


def _parts(prompt: str, *pieces: str) -> list[Part]:
    splitter = ReasoningSplitter(prompt)
    return merged([part for piece in pieces for part in splitter.push(piece)] + splitter.flush())


@pytest.mark.parametrize(
    ("prompt", "answer", "parts"),
    [
        (OUTSIDE, "<think>\nhm\n</think>\n\nYes.", [AnswerReasoning("hm\n"), AnswerText("Yes.")]),
        (OUTSIDE, "\n<think>hm</think>Yes.", [AnswerReasoning("hm"), AnswerText("Yes.")]),
        (OUTSIDE, "<think>\n\n</think>\n\nYes.", [AnswerText("Yes.")]),
        (OUTSIDE, "Yes, <think> is a tag.", [AnswerText("Yes, <think> is a tag.")]),
        (OUTSIDE, " <thinking>", [AnswerText(" <thinking>")]),
        (OUTSIDE, "<think>cut in the mid", [AnswerReasoning("cut in the mid")]),
        (OUTSIDE, "<think>cut</thi", [AnswerReasoning("cut</thi")]),
        (OUTSIDE, "<think>a</think>b</think>c", [AnswerReasoning("a"), AnswerText("b</think>c")]),
        (INSIDE, "hm</think>\nYes.", [AnswerReasoning("hm"), AnswerText("Yes.")]),
        (INSIDE, "<think>hm</think>\nYes.", [AnswerReasoning("hm"), AnswerText("Yes.")]),
        (INSIDE + "\n</think>\n\n", "Yes.", [AnswerText("Yes.")]),
        (INSIDE, "", []),
    ],
)
def test_reasoning_is_what_stands_between_the_tags(prompt: str, answer: str, parts: list[Part]) -> None:
    assert _parts(prompt, answer) == parts


SCRAPS = st.sampled_from(["<think>", "</think>", "<thi", "</", "\n", " ", "hm", "생각", "<", CALL])


@given(st.lists(SCRAPS, max_size=8).map("".join), st.sampled_from([OUTSIDE, INSIDE]), st.data())
def test_the_breaks_between_pieces_do_not_matter(answer: str, prompt: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=5)))
    pieces = [answer[start:end] for start, end in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
    assert _parts(prompt, *pieces) == _parts(prompt, answer) == _parts(prompt, *answer)


def test_reasoning_streams_as_it_comes() -> None:
    splitter = ReasoningSplitter(INSIDE)
    assert splitter.push("first ") == [AnswerReasoning("first ")]
    assert splitter.push("a < b<") == [AnswerReasoning("a < b")]
    assert splitter.push("/think>so") == [AnswerText("so")]


def test_only_templates_with_the_tag_are_of_models_that_think() -> None:
    assert thinks("{% set content = content.split('</think>')[-1] %}")
    assert not thinks("{{ messages[0].content }}")


def test_calls_are_looked_for_behind_the_reasoning_alone() -> None:
    interpreter = AnswerParser(ReasoningSplitter(INSIDE), HermesParser(["f"]))
    parts = (
        interpreter.push(f"I could write {CALL}")
        + interpreter.push(f"</think>\n\n{CALL}")
        + interpreter.flush()
    )
    assert merged(parts) == [
        AnswerReasoning(f"I could write {CALL}"),
        CallStart(0, "f"),
        CallArguments(0, "{}"),
    ]


def test_without_reasoning_and_tools_an_answer_is_text() -> None:
    interpreter = AnswerParser(None, None)
    assert interpreter.push(f"<think>{CALL}") == [AnswerText(f"<think>{CALL}")]
    assert interpreter.push("") == interpreter.flush() == []
