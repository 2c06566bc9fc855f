"""Stop strings end an answer wherever the pieces break, and are never shown."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from slipway.text.stop import StopStrings

TEXT = st.text("abX\n안", max_size=30)
STOPS = st.lists(st.text("abX\n안", min_size=1, max_size=4), max_size=4)


def _shown(stop: list[str], pieces: list[str]) -> tuple[str, str | None]:
    strings = StopStrings(stop)
    shown = ""
    for piece in pieces:
        text, matched = strings.push(piece)
        shown += text
        if matched:
            return shown, matched
    return shown + strings.flush(), None


@given(STOPS, st.lists(TEXT))
def test_what_is_shown_is_the_text_before_a_stop_string(stop: list[str], pieces: list[str]) -> None:
    shown, matched = _shown(stop, pieces)
    whole = "".join(pieces)
    assert whole.startswith(shown)
    assert not any(string in shown for string in stop)
    if matched is None:
        assert not any(string in whole for string in stop)
        assert shown == whole
    else:
        assert matched in stop
        assert whole.startswith(shown + matched)


@given(STOPS, TEXT, st.lists(st.integers(0, 30)))
def test_the_breaks_between_pieces_do_not_matter_when_one_string_is_given(
    stop: list[str], text: str, cuts: list[int]
) -> None:
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(bounds)]
    assert _shown(stop[:1], pieces) == _shown(stop[:1], [text])


def test_text_is_held_back_only_while_it_could_become_a_stop_string() -> None:
    strings = StopStrings(["\n\nUser:"])
    assert strings.push("Hello\n") == ("Hello", None)
    assert strings.push("world\n\nUs") == ("\nworld", None)
    assert strings.push("e it") == ("\n\nUse it", None)
    assert strings.push("\n\nUser: hi") == ("", "\n\nUser:")
