"""One streamed answer, timed chunk by chunk."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

# Of a delta. Servers name thoughts in one of two ways; some send both.
TEXT_FIELDS = ("content", "reasoning_content", "reasoning")


class RequestFailed(Exception):
    """A request failed. The message depends only on the cause, so failures can be counted by it."""


class Unreachable(RequestFailed):
    """No server answered the request."""


@dataclass(frozen=True, slots=True)
class TimedAnswer:
    """A complete answer.

    chunks: clock readings, one per chunk with text, of a thought or of the answer; none where all tokens are
        special ones, such as the tag that opens a thought.
    first_word: the reading of the first chunk that is no thought; None where there is none.
    ended: the reading when the finish reason came. prompt_tokens, output_tokens: the server's `usage`.
    """

    chunks: tuple[float, ...]
    first_word: float | None
    ended: float
    prompt_tokens: int
    output_tokens: int


def read_answer(events: Iterable[str], clock: Callable[[], float]) -> TimedAnswer:
    """Read the data of the server-sent events of one chat completion up to `[DONE]`.

    Raises RequestFailed when the stream has an error, ends early, is not JSON, or lacks tokens or `usage`.
    """
    chunks: list[float] = []
    first_word: float | None = None
    ended: float | None = None
    usage: dict[str, int] | None = None
    done = False
    for data in events:
        arrived = clock()
        if data == "[DONE]":
            # Reading on to the end of the response keeps the connection usable for the next request.
            done = True
            continue
        try:
            event = json.loads(data)
        except ValueError:
            raise RequestFailed("the stream is not JSON") from None
        if "error" in event:
            raise RequestFailed(f"error in the stream: {event['error']['message']}")
        for choice in event["choices"]:
            delta = choice["delta"]
            if delta.get("content"):
                first_word = arrived if first_word is None else first_word
            if any(delta.get(field) for field in TEXT_FIELDS):
                chunks.append(arrived)
            if choice.get("finish_reason"):
                ended = arrived
        usage = event.get("usage") or usage
    if not done:
        raise RequestFailed("the stream ended without [DONE]")
    if ended is None:
        raise RequestFailed("the stream has no finish_reason")
    if usage is None:
        raise RequestFailed("the server sent no usage (stream_options.include_usage)")
    if not chunks and not usage["completion_tokens"]:
        raise RequestFailed("the answer has no text")
    return TimedAnswer(tuple(chunks), first_word, ended, usage["prompt_tokens"], usage["completion_tokens"])
