"""Writes docs/api.md, the fields of every endpoint beside those of other servers: python -m docs.api_table.

This server's columns are read from its protocol classes and from `gateway.capabilities`, OpenAI's from the
types of its Python client, the others' from other_servers.yaml. A test holds the page equal to what is
written here.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import yaml
from openai.types import completion_create_params
from openai.types.chat import completion_create_params as chat_create_params
from pydantic.fields import FieldInfo

from slipway.contract.target import TARGETS, Target
from slipway.gateway.api.body import IGNORED, Body, GenerationBody, Only
from slipway.gateway.api.chat import ChatCompletionRequest
from slipway.gateway.api.completions import CompletionRequest
from slipway.gateway.api.tokens import DetokenizeRequest, TokenizeRequest
from slipway.gateway.capabilities import named

_REFUSING = [target for target in TARGETS.values() if target.refuses]
PAGE = Path(__file__).parent / "api.md"
OTHERS: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parent / "other_servers.yaml").read_text(encoding="utf-8")
)
_OPENAI: dict[str, tuple[type, ...]] = {
    "chat": (
        chat_create_params.CompletionCreateParamsBase,
        chat_create_params.CompletionCreateParamsStreaming,
    ),
    "completions": (
        completion_create_params.CompletionCreateParamsBase,
        completion_create_params.CompletionCreateParamsStreaming,
    ),
}
_WORDS = (
    "What each server does with a field that asks for something: **yes**, it acts on it; **ignored**, it",
    "takes it and the answer is as if it were not there; **refused**, an error. OpenAI is what its Python",
    f"client {openai.VERSION} can send; vLLM and NVIDIA's frontend (in front of TensorRT-LLM) are read from",
    "their source, which `docs/other_servers.yaml` names. This server refuses with a 400 that names the",
    "field (`param`) and the way out. Bounds and shapes are on its page `/docs`.",
)
_HEAD = f"""# The API, field by field

Written by `python -m docs.api_table` from the protocol classes; change those, not this page.

{" ".join(_WORDS)}
"""


def page() -> str:
    """The text of docs/api.md."""
    parts = [
        _HEAD,
        *_compared("POST /v1/chat/completions", "chat", ChatCompletionRequest),
        *_compared("POST /v1/completions", "completions", CompletionRequest),
        *_alone("POST /tokenize", TokenizeRequest),
        *_alone("POST /detokenize", DetokenizeRequest),
        *_elsewhere(),
    ]
    return "\n".join(parts)


def _compared(title: str, kind: str, schema: type[GenerationBody]) -> Iterator[str]:
    openai_fields = {name for each in _OPENAI[kind] for name in each.__annotations__}
    listed = {name for server in OTHERS.values() for names in server[kind].values() for name in names}
    yield f"## {title}\n"
    targets = "".join(f" its {target} engines |" for target in _REFUSING)
    yield f"| field | this server |{targets} OpenAI | vLLM | NVIDIA's frontend | |"
    yield "|---|---|---|---|---|---|" + "---|" * len(_REFUSING)
    for name in [*schema.model_fields, *sorted((openai_fields | listed) - schema.model_fields.keys())]:
        field = schema.model_fields.get(name)
        known = "yes" if name in openai_fields else "refused"
        engines = [_engines(target, name, field, schema) for target in _REFUSING]
        others = [_other(server, kind, name) for server in OTHERS]
        cells = [f"`{name}`", _here(field), *engines, known, *others, _note(field)]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _alone(title: str, schema: type[Body]) -> Iterator[str]:
    yield f"## {title}\n\nAs in vLLM's server.\n"
    yield "| field | |\n|---|---|"
    for name, field in schema.model_fields.items():
        yield f"| `{name}` | {field.description or ''} |"
    yield ""


def _elsewhere() -> Iterator[str]:
    yield "## What some engines refuse, and why\n"
    yield "| engines | field | why, and the way out |\n|---|---|---|"
    for target in _REFUSING:
        for name, reason in target.refuses.items():
            yield f"| {target} | `{name}` | {reason} |"
    for target in _REFUSING:
        for name, reason in target.refuses_with_several_ends.items():
            yield f"| {target}, of a model with several end-of-sequence tokens | `{name}` | {reason} |"
    for target in _REFUSING:
        for name, limit in target.limits.items():
            yield f"| {target}, above {limit.highest} | `{name}` | {limit.reason} |"
    yield ""


def _here(field: FieldInfo | None) -> str:
    if field is None:
        return "refused"
    if (field.description or "").startswith("Accepted"):
        return "ignored"
    return "refused" if _only(field) else "yes"


def _engines(target: Target, name: str, field: FieldInfo | None, schema: type[GenerationBody]) -> str:
    if name in {named(each, schema) for each in target.refuses}:
        return "refused" if name in target.refuses else "0 alone"
    mostly = name in target.refuses_with_several_ends or name in target.limits
    return "yes, mostly" if mostly else _here(field)


def _other(server: str, kind: str, name: str) -> str:
    for word, names in OTHERS[server][kind].items():
        if name in names:
            return "yes" if word == "taken" else str(word)
    return str(OTHERS[server]["otherwise"])


def _note(field: FieldInfo | None) -> str:
    if field is None:
        return ""
    only = _only(field)
    if only is None:
        return "" if field.description in (None, IGNORED) else str(field.description)
    taken = ", ".join(f"`{json.dumps(value)}`" for value in only.neutral)
    return only.advice + (f"; taken: {taken}" if taken else "")


def _only(field: FieldInfo) -> Only | None:
    return next((each for each in field.metadata if isinstance(each, Only)), None)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
