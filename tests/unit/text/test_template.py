"""Conversations become prompts by the model's own template, as in transformers, and within bounds."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from jinja2 import TemplateError
from support.conversations import ANSWER, CONVERSATIONS, SILENT, SYSTEM, TOOLS
from support.paths import GOLDEN
from support.templates import SPECIAL, USER, template_of
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from slipway.contract.errors import InvalidRequest
from slipway.text.reasoning import thinks
from slipway.text.template import ChatTemplate, TemplateSource
from slipway.text.tokenizer import Tokenizer
from slipway.text.tool_calls.choice import choose
from slipway.text.vocabulary import Vocabulary

PUBLISHED = GOLDEN / "chat_templates"


FAMILIES = sorted(path.stem for path in PUBLISHED.glob("*.jinja"))


CHATML = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}\n{% endfor %}"


@cache
def _published(family: str, directory: Path) -> ChatTemplate:
    return template_of(directory, (PUBLISHED / f"{family}.jinja").read_text())


@cache
def _reference(family: str) -> PreTrainedTokenizerFast:
    reference = PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer(BPE()), **SPECIAL)
    reference.chat_template = (PUBLISHED / f"{family}.jinja").read_text()
    return reference


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("template")


def _by_transformers(family: str, messages: list[dict[str, Any]], **asked: Any) -> str | None:
    """None where the template refuses the messages, or fails at them."""
    try:
        prompt = _reference(family).apply_chat_template(messages, tokenize=False, **asked)
    except (TemplateError, TypeError, ValueError):
        return None
    assert isinstance(prompt, str)
    return prompt


def _here(template: ChatTemplate, messages: list[dict[str, Any]], **asked: Any) -> str | None:
    # transformers leaves out what is null.
    turns = [{name: value for name, value in turn.items() if value is not None} for turn in messages]
    try:
        return template.render(turns, **asked)
    except InvalidRequest:
        return None


@pytest.mark.parametrize("tools", [None, TOOLS], ids=["", "tools"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_is_the_one_of_transformers(folder: Path, family: str, tools: Any) -> None:
    template = _published(family, folder)
    rendered = 0
    for messages in CONVERSATIONS:
        for prompted in (True, False):
            asked = {"tools": tools, "add_generation_prompt": prompted}
            prompt = _here(template, messages, **asked)
            assert prompt == _by_transformers(family, messages, **asked), messages
            rendered += prompt is not None
    assert rendered >= 8


@pytest.mark.parametrize("family", FAMILIES)
def test_a_message_is_continued_as_in_transformers(folder: Path, family: str) -> None:
    template = _published(family, folder)
    rendered = 0
    for content in ("It", "It ", " It rains\n\n", "<think>hm", "날씨", "<think>a</think>b"):
        messages = [USER, {"role": "assistant", "content": content}]
        prompt = _here(template, messages, continue_final_message=True)
        assert prompt == _by_transformers(family, messages, continue_final_message=True), content
        rendered += prompt is not None
    assert rendered >= 4


@pytest.mark.parametrize(
    ("family", "asked"),
    [
        ("llama-3.1", {"date_string": "01 Jan 2030"}),
        ("llama-3.1", {"tools_in_user_message": False}),
        ("llama-3.1", {"builtin_tools": ["code_interpreter", "brave_search"]}),
        ("qwen3", {"enable_thinking": False}),
        ("mistral-nemo", {"bos_token": "<bos>"}),
    ],
)
def test_chat_template_kwargs_reach_the_template(folder: Path, family: str, asked: dict[str, Any]) -> None:
    template = _published(family, folder)
    prompt = template.render([SYSTEM, USER], tools=TOOLS, kwargs=asked)
    assert prompt == _by_transformers(
        family, [SYSTEM, USER], tools=TOOLS, add_generation_prompt=True, **asked
    )
    assert prompt != template.render([SYSTEM, USER], tools=TOOLS)


@pytest.mark.parametrize("name", ["messages", "tools", "documents", "add_generation_prompt"])
def test_chat_template_kwargs_cannot_replace_what_the_request_says(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"cannot have {name}") as refusal:
        template_of(tmp_path, CHATML).render([USER], kwargs={name: []})
    assert refusal.value.param == "chat_template_kwargs"


def test_the_families_of_the_published_templates_are_known() -> None:
    sources = {family: (PUBLISHED / f"{family}.jinja").read_text() for family in FAMILIES}
    assert {family: choose(source) for family, source in sources.items()} == {
        "chatml": None,
        "deepseek-coder": None,
        "llama-2": None,
        "llama-3": None,
        "llama-3.1": "llama3",
        "llama-3.2": "llama3",
        "mistral-7b-v0.1": None,
        "mistral-7b-v0.3": "mistral",
        "mistral-nemo": "mistral",
        "qwen2": None,
        "qwen2.5": "hermes",
        "qwen3": "hermes",
        "qwq": "hermes",
    }
    assert {family for family, source in sources.items() if thinks(source)} == {"qwen3", "qwq"}


def test_a_template_that_spells_out_bos_gives_one(folder: Path) -> None:
    encoder = tokenizers.Tokenizer(BPE({"<s>": 0, "a": 1}, []))
    encoder.add_special_tokens(["<s>"])
    encoder.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    tokenizer = Tokenizer(encoder, Vocabulary(), SPECIAL)
    prompt = _published("llama-3", folder).render([USER])
    assert prompt.startswith("<s><|start_header_id|>user")
    assert tokenizer.encode(prompt).count(0) == 1
    assert tokenizer.encode("a").count(0) == 1


def test_the_template_for_tools_is_used_when_there_are_tools(tmp_path: Path) -> None:
    (tmp_path / "chat_template.tool_use.jinja").write_text("{{ tools[0].function.name }}")
    template = template_of(tmp_path, CHATML)
    assert template.render([USER], tools=TOOLS) == "get_weather"
    assert template.render([USER], tools=[]) == template.render([USER])
    assert "tools[0]" in template.source.text


def test_what_training_marks_stays_in_the_prompt(tmp_path: Path) -> None:
    marked = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}.{% endfor %}"
    assert template_of(tmp_path, marked).render([ANSWER, ANSWER]) == "  It rains. .  It rains. ."


def test_a_template_that_drops_the_last_message_cannot_continue_it(tmp_path: Path) -> None:
    for source in ("{{ messages[0].content }}", "{{ messages[-1].content[:1] }}"):
        with pytest.raises(InvalidRequest, match="leave out continue_final_message"):
            template_of(tmp_path, source).render([USER, ANSWER], continue_final_message=True)
    with pytest.raises(InvalidRequest, match="text to continue"):
        template_of(tmp_path, CHATML).render([USER, SILENT], continue_final_message=True)


def test_a_template_that_refuses_says_so_at_the_messages_field(tmp_path: Path) -> None:
    template = template_of(tmp_path, "{{ raise_exception('roles must alternate') }}")
    with pytest.raises(InvalidRequest, match="roles must alternate") as refusal:
        template.render([{"role": "user", "content": "x"}])
    assert refusal.value.param == "messages"


def test_a_base_model_without_template_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="/v1/completions"):
        ChatTemplate.of(TemplateSource.read(tmp_path, SPECIAL)).render([])


def test_a_long_conversation_is_within_the_bounds(folder: Path) -> None:
    messages = [
        {"role": role, "content": "날씨 " * 500} for _ in range(500) for role in ("user", "assistant")
    ]
    assert len(_published("qwen2.5", folder).render(messages)) > 1_500_000
