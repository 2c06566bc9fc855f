from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.text.tokenizer import Tokenizer
from slipway.triton.stages.streams import Streams

KOREAN = "서울은 대한민국의 수도입니다. 😀👩‍💻🇰🇷"


def pushed(streams: Streams, name: int, ids: list[int]) -> list[str]:
    return [streams.push(name, [token], last=False) for token in ids] + [streams.push(name, [], last=True)]


def test_a_korean_stream_is_whole_and_never_shows_a_broken_character(tokenizer: Tokenizer) -> None:
    pieces = pushed(Streams(tokenizer), 1, tokenizer.encode(KOREAN))
    assert "".join(pieces) == KOREAN
    assert "�" not in "".join(pieces)


@settings(max_examples=50)
@given(data=st.data())
def test_streams_that_interleave_do_not_mix(tokenizer: Tokenizer, data: st.DataObject) -> None:
    ids = st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=20)
    answers = data.draw(st.lists(ids, min_size=2, max_size=4))
    order = data.draw(st.permutations([row for row, answer in enumerate(answers) for _ in answer]))
    streams = Streams(tokenizer)
    pieces = [""] * len(answers)
    left = [iter(answer) for answer in answers]
    for row in order:
        pieces[row] += streams.push(row, [next(left[row])], last=False)
    for row in range(len(answers)):
        pieces[row] += streams.push(row, [], last=True)
    assert pieces == [tokenizer.decode(answer) for answer in answers]
    assert len(streams) == 0


def test_streams_that_never_end_make_room_for_new_ones(tokenizer: Tokenizer) -> None:
    streams = Streams(tokenizer, limit=3)
    half, rest = tokenizer.encode("한")[:1], tokenizer.encode("한")[1:]
    for name in (1, 2, 3):
        streams.push(name, half, last=False)
    streams.push(1, [tokenizer.eos_token_id], last=False)  # used again, without text
    streams.push(4, half, last=False)
    assert len(streams) == 3
    assert streams.push(1, rest, last=False) == "한"
    assert streams.push(2, rest, last=False) != "한"  # the least recently used was let go


def test_a_streams_last_tokens_are_told_and_it_is_forgotten(tokenizer: Tokenizer) -> None:
    streams = Streams(tokenizer)
    half, rest = tokenizer.encode("한")[:1], tokenizer.encode("한")[1:]
    assert streams.push(1, half, last=False) == ""
    assert streams.push(1, rest, last=True) == "한"
    assert len(streams) == 0
    assert streams.push(2, half + rest, last=True) == "한", "a whole answer"
    assert len(streams) == 0


def test_the_text_of_an_answer_is_what_comes_after_the_prompt(sentencepiece: Tokenizer) -> None:
    prompt = sentencepiece.encode("The capital is")
    answer = [sentencepiece.encoder.token_to_id(token) for token in ("▁Paris", "▁▁▁▁", "a")]
    streams = Streams(sentencepiece)
    assert "".join(pushed(streams, 1, answer)) == " Paris    a"
    assert streams.push(2, answer, last=True) == " Paris    a"
    with_prompt = streams.push(3, [*prompt, *answer], last=True)
    assert with_prompt == "The capital is Paris    a", (
        "an answer that comes with its prompt is a text of its own"
    )
