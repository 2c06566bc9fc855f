"""A chat template in a process of its own makes the same prompts as in this one."""

import json
from contextlib import closing
from typing import Any

import pytest
from support.conversations import ANSWER, CONVERSATIONS, TOOLS
from support.paths import GOLDEN
from support.templates import SPECIAL, USER

from slipway.contract.errors import EngineRefused, InvalidRequest
from slipway.runtime.isolated.template import IsolatedTemplate, read_features
from slipway.text.template import ChatTemplate, Template, TemplateSource
from slipway.text.template_features import TemplateFeatures

FAMILIES = sorted((GOLDEN / "chat_templates").glob("*.jinja"))
SURROGATE = {"role": "user", "content": json.loads('"\\ud800 \\u0000 \\u2028"')}


def _rendered(template: Template, messages: list[dict[str, Any]], **asked: Any) -> str:
    try:
        return template.render(messages, **asked)
    except InvalidRequest as refusal:
        return f"{refusal.param}: {refusal}"


@pytest.mark.parametrize("path", FAMILIES, ids=lambda path: path.stem)
def test_every_published_template_makes_the_same_prompts(path: Any) -> None:
    source = TemplateSource(path.read_text(encoding="utf-8"), None, SPECIAL)
    here = ChatTemplate.of(source)
    with closing(IsolatedTemplate(source)) as there:
        assert there.variables == here.variables
        assert TemplateFeatures.read(there, None) == TemplateFeatures.read(here, None)
        for messages in [*CONVERSATIONS, [SURROGATE]]:
            for tools in (None, TOOLS):
                for asked in (
                    {"add_generation_prompt": True},
                    {"add_generation_prompt": False},
                    {"kwargs": {"enable_thinking": False, "size": 1.5, "names": ["a", None, True]}},
                ):
                    prompts = [_rendered(each, messages, tools=tools, **asked) for each in (here, there)]
                    assert prompts[0] == prompts[1]
        continued = {"continue_final_message": True}
        assert _rendered(here, [USER, ANSWER], **continued) == _rendered(there, [USER, ANSWER], **continued)


def test_an_engine_whose_template_is_stopped_at_a_small_conversation_is_refused() -> None:
    long = "{{ messages[0].role * 10**9 }}"
    with pytest.raises(EngineRefused, match=r"engines/bad has a broken chat template.*makes more than"):
        read_features(TemplateSource(long, None, SPECIAL, "engines/bad"), None)


@pytest.mark.parametrize(
    ("source", "reason"),
    [("\n{% for %}", r"jinja:2 is not a valid"), ("{{ 'a' * 10**12 }}", r"makes more than")],
)
def test_a_template_that_cannot_be_compiled_is_refused(source: str, reason: str) -> None:
    with pytest.raises(EngineRefused, match=reason):
        read_features(TemplateSource(source, None, SPECIAL, "engines/bad"), None)
