"""docs/api.md says what the code does."""

import openai

from docs import api_table
from slipway.gateway.api.chat import ChatCompletionRequest
from slipway.gateway.api.completions import CompletionRequest

BODIES = {"chat": ChatCompletionRequest, "completions": CompletionRequest}


def test_the_page_is_what_the_protocol_classes_say() -> None:
    assert api_table.PAGE.read_text(encoding="utf-8") == api_table.page(), "run: python -m docs.api_table"


def test_every_field_of_openais_client_is_known_here() -> None:
    for kind, body in BODIES.items():
        theirs = {name for each in api_table._OPENAI[kind] for name in each.__annotations__}
        assert theirs <= body.model_fields.keys(), f"openai {openai.VERSION} has more"


def test_others_do_one_thing_with_a_field() -> None:
    for server in api_table.OTHERS.values():
        for kind in BODIES:
            listed = [name for names in server[kind].values() for name in names]
            assert len(listed) == len(set(listed))


def test_rows_say_what_a_client_would_meet() -> None:
    rows = {line.split("`")[1]: line for line in api_table.page().splitlines() if line.startswith("| `")}
    for field, cells in {
        "user": "ignored | ignored | ignored | yes | ignored | ignored",
        "suffix": "refused | refused | refused | yes | refused | refused",
        "structured_outputs": "yes | yes | refused | refused | yes | refused",
        "length_penalty": "refused | refused | refused | refused | yes | refused",
        "top_logprobs": "yes | refused | refused | yes | yes | refused",
        "min_tokens": "yes | yes, mostly | refused | refused | yes | ignored",
    }.items():
        assert rows[field].startswith(f"| `{field}` | {cells} |")
