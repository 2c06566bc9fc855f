"""Conversations become prompts by the model's own template, as in transformers, and within bounds."""

import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from jinja2 import TemplateError
from support.paths import GOLDEN
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from slipway.contract.errors import EngineRefused, InvalidRequest
from slipway.text import budget
from slipway.text.reasoning import thinks
from slipway.text.template import ChatTemplate
from slipway.text.tokenizer import Tokenizer
from slipway.text.tool_calls.choice import choose
from slipway.text.vocabulary import Vocabulary

PUBLISHED = GOLDEN / "chat_templates"
FAMILIES = sorted(path.stem for path in PUBLISHED.glob("*.jinja"))
CHATML = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}\n{% endfor %}"

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
TOKENIZER = Tokenizer(tokenizers.Tokenizer(BPE()), Vocabulary((), False), SPECIAL)

USER = {"role": "user", "content": '날씨가 어때요? <b>"&"</b> {{ 1 }} 🇰🇷'}
SYSTEM = {"role": "system", "content": " You are brief.\n"}
ANSWER = {"role": "assistant", "content": "  It rains. "}
CALLING = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "abcdefghi",
            "type": "function",
            "function": {"name": "get_weather", "arguments": {"city": "서울", "days": 2, "exact": True}},
        }
    ],
}
SILENT = {**CALLING, "content": None}
RESULT = {"role": "tool", "tool_call_id": "abcdefghi", "name": "get_weather", "content": '{"rain": "많이"}'}
THOUGHT = {"role": "assistant", "content": "Rain.", "reasoning_content": "hm\n"}
INLINE = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nRain."}
CONVERSATIONS: list[list[dict[str, Any]]] = [
    [USER],
    [SYSTEM, USER],
    [USER, ANSWER, USER],
    [SYSTEM, USER, ANSWER, USER, ANSWER],
    [{"role": "user", "content": ""}],
    [{"role": "system", "content": ""}, USER],
    [USER, CALLING, RESULT],
    [SYSTEM, USER, CALLING, RESULT, ANSWER, USER],
    [USER, SILENT, RESULT, RESULT, ANSWER],
    [USER, THOUGHT, USER],
    [USER, INLINE, USER],
    [USER, USER],
    [ANSWER],
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city <now> & then, 날씨.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1}},
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "ping", "description": "", "parameters": {}}},
]


def _template(directory: Path, source: str) -> ChatTemplate:
    (directory / "chat_template.jinja").write_text(source)
    return ChatTemplate.load(directory, TOKENIZER)


@cache
def _published(family: str, directory: Path) -> ChatTemplate:
    return _template(directory, (PUBLISHED / f"{family}.jinja").read_text())


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
    try:
        return template.render(messages, **asked)
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
        _template(tmp_path, CHATML).render([USER], kwargs={name: []})
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
    tokenizer = Tokenizer(encoder, Vocabulary((), False), SPECIAL)
    prompt = _published("llama-3", folder).render([USER])
    assert prompt.startswith("<s><|start_header_id|>user")
    assert tokenizer.encode(prompt).count(0) == 1
    assert tokenizer.encode("a").count(0) == 1


def test_the_template_for_tools_is_used_when_there_are_tools(tmp_path: Path) -> None:
    (tmp_path / "chat_template.tool_use.jinja").write_text("{{ tools[0].function.name }}")
    template = _template(tmp_path, CHATML)
    assert template.render([USER], tools=TOOLS) == "get_weather"
    assert template.render([USER], tools=[]) == template.render([USER])
    assert "tools[0]" in template.source


def test_what_training_marks_stays_in_the_prompt(tmp_path: Path) -> None:
    marked = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}.{% endfor %}"
    assert _template(tmp_path, marked).render([ANSWER, ANSWER]) == "  It rains. .  It rains. ."


def test_a_template_that_drops_the_last_message_cannot_continue_it(tmp_path: Path) -> None:
    for source in ("{{ messages[0].content }}", "{{ messages[-1].content[:1] }}"):
        with pytest.raises(InvalidRequest, match="leave out continue_final_message"):
            _template(tmp_path, source).render([USER, ANSWER], continue_final_message=True)
    with pytest.raises(InvalidRequest, match="text to continue"):
        _template(tmp_path, CHATML).render([USER, SILENT], continue_final_message=True)


def test_a_template_that_refuses_says_so_at_the_messages_field(tmp_path: Path) -> None:
    template = _template(tmp_path, "{{ raise_exception('roles must alternate') }}")
    with pytest.raises(InvalidRequest, match="roles must alternate") as refusal:
        template.render([{"role": "user", "content": "x"}])
    assert refusal.value.param == "messages"


def test_a_base_model_without_template_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="/v1/completions"):
        ChatTemplate.load(tmp_path, TOKENIZER).render([])


def test_what_a_template_says_of_a_refusal_is_cut_at_some_length(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        _template(tmp_path, "{{ raise_exception('a' * 99999) }}").render([USER])
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize(
    "attack",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ namespace(__class__=1) }}",
        "{% include 'a' %}",
        "{% set ns = namespace() %}{% set ns._x = 1 %}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(tmp_path: Path, attack: str) -> None:
    with pytest.raises(InvalidRequest):
        _template(tmp_path, attack).render([])


@pytest.mark.parametrize(
    "look",
    [
        "{{ x.__class__ }}{{ messages.__class__ }}",
        "{{ dict.__class__ }}",
        "{{ raise_exception.__globals__ }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{{ messages|map(attribute='__class__')|join }}",
    ],
)
def test_a_template_sees_nothing_of_python(tmp_path: Path, look: str) -> None:
    assert _template(tmp_path, look).render([USER]) == ""


NESTED = "{% set ns = namespace(x=['a']) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"
DOUBLED = "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = "


@pytest.mark.parametrize(
    "attack",
    [
        "{% for i in range(10**9) %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{{ range(99999)|map('string')|list|length }}{% endfor %}",
        "{% for i in range(99999) %}{{ range(99999)|sum }}{% endfor %}",
        "{% for i in range(99999) recursive %}{{ loop(range(9)) }}{% endfor %}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% macro f() %}{{ caller() }}{% endmacro %}{% for i in range(99999) %}{% for j in range(99999) %}"
        "{% call f() %}x{% endcall %}{% endfor %}{% endfor %}",
        "{{ 'a' * 10**9 }}",
        "{{ 10**9 * 'a' }}",
        "{{ ['a'] * 10**9 }}",
        "{{ [[1] * 1000] * 10**8 }}",
        "{{ 10**(10**10) }}",
        "{% set ns = namespace(x=7) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%1000000000d'|format(1) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, 1000000000) }}",
        "{{ '{:1000000000}'.format_map({}) }}",
        "{{ ('{0}' * 9999999).format('a' * 9999) }}",
        "{{ ('%s' * 999999) % ('a' * 999999) }}",
        "{{ 'a'.center(10**9) }}",
        "{{ 'a'.zfill(1000000000) }}",
        "{{ 'a'|center(1000000000) }}",
        "{{ 'a\n'|indent(width=1000000000) }}",
        "{{ [1]|batch(1000000000, 'x')|list }}",
        "{{ 1.5|round(1000000000, 'ceil') }}",
        "{{ [1]|tojson(indent=1000000000) }}",
        "{{ ('a' * 9999999).replace('a', 'b' * 9999999) }}",
        "{{ ('a' * 9999999)|replace('a', 'b' * 9999999) }}",
        "{{ ('b' * 9999999).join(range(99999)|map('string')) }}",
        "{{ (['b' * 9999] * 999999)|join }}",
        "{{ range(99999)|join('b' * 9999999) }}",
        "{{ ('\t' * 9999999).expandtabs(999999) }}",
        "{{ ('a' * 9999999).translate({97: 'b' * 9999999}) }}",
        DOUBLED + "ns.x + ns.x %}{% endfor %}",
        DOUBLED + "ns.x ~ ns.x %}{% endfor %}",
        DOUBLED + "[ns.x, ns.x]|join %}{% endfor %}",
        DOUBLED + "ns.x|replace('a', 'aab') %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}"
        "{% set ns.x = y %}{% endfor %}",
        "{% set big = 'a' * 9999999 %}{% set ns = namespace(x=[]) %}{% for i in range(9999) %}"
        "{% set ns.x = ns.x + [big[1:]] %}{% endfor %}",
        "{% for i in range(99999) %}{% set y %}" + "long text " * 999 + "{% endset %}{% endfor %}",
        "{% for i in range(99999) %}" + "long text " * 999 + "{% endfor %}",
        NESTED + "{{ ns.x }}",
        NESTED + "{{ ns.x|string }}",
        NESTED + "{{ ns.x|tojson }}",
        NESTED + "{{ ns.x ~ '' }}",
        NESTED + "{{ ns.x|join }}",
        NESTED + "{{ '%s' % ns.x }}",
        NESTED + "{{ '{}'.format(ns.x) }}",
        NESTED + "{{ ns.x|pprint }}",
        NESTED + "{{ ns.x|center }}",
        NESTED + "{{ ns.x|format }}",
        NESTED + "{{ ns.x|upper }}",
        NESTED + "{{ [ns.x]|map('trim')|list }}",
        "{{ lipsum(n=1000000) }}",
        "{{ ('{0:9999}' * 999999).format(1) }}",
        "{{ ('%9999d' * 9999) % ([1] * 9999) }}",
        "{{ ('a b ' * 9999)|wordwrap(1, wrapstring='b' * 9999999) }}",
        "{{ ('a\n' * 99999)|indent('b' * 9999999) }}",
        "{{ ([1] * 99999)|tojson(separators=('b' * 9999999, ':')) }}",
        "{% set n = ('f' * 9999999)|int(base=16) %}{% for i in range(99999) %}{{ n // 7 }}{% endfor %}",
        "{{ range(99999)|select('in', range(99999)|list)|list|length }}",
        "{{ ([[1] * 9999] * 9999)|sum(start=[])|length }}",
        "{{ ('ab,' * 9999999).split(',')|length }}",
        "{{ ('ab ' * 9999999).split()|length }}",
        "{{ ('a' * 9999999)|list|length }}",
        "{{ ('ab\n' * 9999999).splitlines()|length }}",
    ],
)
def test_a_template_without_end_or_measure_is_stopped(
    tmp_path: Path, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in life, but for the waiting: a fortieth of the time and of the items that are weighed one by one.
    monkeypatch.setattr(budget, "MAX_SECONDS", budget.MAX_SECONDS / 40)
    monkeypatch.setattr(budget, "_MAX_ITEMS", budget._MAX_ITEMS // 40)
    started = time.thread_time()
    with pytest.raises((InvalidRequest, EngineRefused)):
        _template(tmp_path, attack).render([USER])
    assert time.thread_time() - started < 1.5


def test_a_number_in_a_text_that_is_formatted_is_no_width(tmp_path: Path) -> None:
    assert _template(tmp_path, "{{ 'Room 12345'.format(1) }}").render([USER]) == "Room 12345"


def test_a_long_conversation_is_within_the_bounds(folder: Path) -> None:
    messages = [
        {"role": role, "content": "날씨 " * 500} for _ in range(500) for role in ("user", "assistant")
    ]
    assert len(_published("qwen2.5", folder).render(messages)) > 1_500_000


@pytest.mark.parametrize("source", ["\n{% for %}", "{{ " + "(" * 500 + ")" * 500 + " }}"])
def test_a_broken_template_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(EngineRefused, match=r"chat_template\.jinja"):
        _template(tmp_path, source)


def test_a_broken_template_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(EngineRefused, match="jinja:2 "):
        _template(tmp_path, "\n{% for %}")


def test_loops_in_loops_that_python_cannot_hold_are_refused(tmp_path: Path) -> None:
    deep = "".join(f"{{% for a{n} in messages %}}" for n in range(30)) + "{% endfor %}" * 30
    with pytest.raises(EngineRefused, match="cannot be used"):
        _template(tmp_path, deep)
