"""The turns of a conversation, fitted to what a chat template can say."""

import hashlib
import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Turn = Mapping[str, Any]
# The content of a turn of calls alone: no such field, as in transformers, an empty text, or null.
CallContent = Literal["missing", "empty", "null"]

_ALPHANUMERIC = string.ascii_letters + string.digits
_SHORT_ID = 9  # characters of a call's id in Mistral's templates
_SEPARATOR = "\n\n"


@dataclass(frozen=True, slots=True)
class TurnRules:
    """What a chat template can say.

    system: a system turn at the start. system_behind_results: also when a call's result comes last.
    systems_anywhere: several system turns, also later ones.
    repeated_roles: two turns of one role in a row.
    calls: calls and their results, as turns of their own.
    several_calls: two calls in one turn.
    long_ids: ids of calls that are not nine letters or digits.
    user_after_result: a user's turn directly behind the result of a call.
    call_content: the content of a turn that has only calls.
    text_arguments: the arguments of calls are JSON as text, and no objects (DeepSeek V3 and R1).
    """

    system: bool = True
    system_behind_results: bool = True
    systems_anywhere: bool = True
    repeated_roles: bool = True
    calls: bool = True
    several_calls: bool = True
    long_ids: bool = True
    user_after_result: bool = True
    call_content: CallContent = "missing"
    text_arguments: bool = False


def fit_turns(turns: Sequence[Turn], rules: TurnRules) -> list[Turn]:
    """The same conversation in turns that the template can say.

    turns: in the form of OpenAI's API; without calls and results where the rules exclude them.
    """
    fitted = _join_answers(turns)
    if not rules.systems_anywhere:
        fitted = _one_system(fitted)
    if not rules.system or not (rules.system_behind_results or _ends_with_user(fitted)):
        fitted = _without_system(fitted)
    if not rules.repeated_roles:
        fitted = _alternating(fitted)
    if not rules.several_calls:
        fitted = _one_call_each(fitted)
    if not rules.user_after_result:
        fitted = _with_answers_after_results(fitted)
    if not rules.long_ids:
        fitted = [_with_short_ids(turn) for turn in fitted]
    if rules.text_arguments:
        fitted = [_with_text_arguments(turn) for turn in fitted]
    return [_with_content(turn, rules.call_content) for turn in fitted]


def _join_answers(turns: Sequence[Turn]) -> list[Turn]:
    """Text that the model wrote behind its calls belongs to their turn; results come after both."""
    joined: list[Turn] = []
    for turn in turns:
        if joined and turn["role"] == "assistant" and joined[-1].get("tool_calls"):
            joined[-1] = _joined(joined[-1], turn)
        else:
            joined.append(turn)
    return joined


def _one_system(turns: Sequence[Turn]) -> list[Turn]:
    """One system turn at the start; later ones become the user's."""
    first = next((at for at, turn in enumerate(turns) if turn["role"] != "system"), len(turns))
    later = [{**turn, "role": "user"} if turn["role"] == "system" else turn for turn in turns[first:]]
    if not first:
        return later
    content = _SEPARATOR.join(turn["content"] for turn in turns[:first])
    return [{**turns[0], "content": content}, *later]


def _ends_with_user(turns: Sequence[Turn]) -> bool:
    return bool(turns) and turns[-1]["role"] == "user"


def _without_system(turns: Sequence[Turn]) -> list[Turn]:
    """The system turn becomes the beginning of the first turn, or a turn, of the user's."""
    if not turns or turns[0]["role"] != "system":
        return list(turns)
    system, *rest = turns
    if rest and rest[0]["role"] == "user":
        return [{**rest[0], "content": _text(system, rest[0])}, *rest[1:]]
    return [{"role": "user", "content": system["content"]}, *rest]


def _alternating(turns: Sequence[Turn]) -> list[Turn]:
    """Neighbours with one role become one turn; results of calls stay as they are."""
    merged: list[Turn] = []
    for turn in turns:
        if merged and turn["role"] == merged[-1]["role"] and turn["role"] != "tool":
            merged[-1] = _joined(merged[-1], turn)
        else:
            merged.append(turn)
    return merged


def _one_call_each(turns: Sequence[Turn]) -> list[Turn]:
    """A turn of several calls becomes several turns, each with the results of its call."""
    split: list[Turn] = []
    at = 0
    while at < len(turns):
        turn, at = turns[at], at + 1
        calls = turn.get("tool_calls", ())
        if len(calls) < 2:
            split.append(turn)
            continue
        results: list[Turn] = []
        while at < len(turns) and turns[at]["role"] == "tool":
            results.append(turns[at])
            at += 1
        for index, call in enumerate(calls):
            rest = turn if index == 0 else {"role": "assistant", "content": ""}
            split.append({**rest, "tool_calls": [call]})
            answering = [each for each in results if each["tool_call_id"] == call["id"]]
            split += answering
            results = [each for each in results if each not in answering]
        split += results
    return split


def _with_answers_after_results(turns: Sequence[Turn]) -> list[Turn]:
    """An empty answer stands between calls or their results and the user's next turn."""
    fitted: list[Turn] = []
    for turn in turns:
        before = fitted[-1] if fitted else {"role": "system"}
        if turn["role"] == "user" and (before["role"] == "tool" or before.get("tool_calls")):
            fitted.append({"role": "assistant", "content": ""})
        fitted.append(turn)
    return fitted


def _with_short_ids(turn: Turn) -> Turn:
    fitted = dict(turn)
    if "tool_calls" in turn:
        fitted["tool_calls"] = [{**call, "id": _short_id(call["id"])} for call in turn["tool_calls"]]
    if "tool_call_id" in turn:
        fitted["tool_call_id"] = _short_id(turn["tool_call_id"])
    return fitted


def _short_id(name: str) -> str:
    """Nine letters or digits, the same for the same id."""
    if len(name) == _SHORT_ID and name.isascii() and name.isalnum():
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return "".join(_ALPHANUMERIC[byte % len(_ALPHANUMERIC)] for byte in digest[:_SHORT_ID])


def _with_text_arguments(turn: Turn) -> Turn:
    if "tool_calls" not in turn:
        return turn
    functions = [call["function"] for call in turn["tool_calls"]]
    texts = [json.dumps(function["arguments"], ensure_ascii=False) for function in functions]
    calls = [
        {**call, "function": {**call["function"], "arguments": text}}
        for call, text in zip(turn["tool_calls"], texts, strict=True)
    ]
    return {**turn, "tool_calls": calls}


def _with_content(turn: Turn, form: CallContent) -> Turn:
    if not turn.get("tool_calls") or turn["content"]:
        return turn
    without = {name: value for name, value in turn.items() if name != "content"}
    return without if form == "missing" else {**without, "content": None if form == "null" else ""}


def _joined(first: Turn, second: Turn) -> Turn:
    calls = [*first.get("tool_calls", ()), *second.get("tool_calls", ())]
    both = {**first, **second, "content": _text(first, second)}
    return {**both, "tool_calls": calls} if calls else both


def _text(*turns: Turn) -> str:
    return _SEPARATOR.join(filter(None, (turn["content"] for turn in turns)))
