"""Conversations become prompts by the model's own template, and nothing in a template reaches the server."""

from pathlib import Path

import pytest
import tokenizers
from tokenizers.models import BPE

from engines.errors import EngineRefused, InvalidRequest
from text.template import ChatTemplate
from text.tokenizer import Tokenizer
from text.vocabulary import Vocabulary

CHATML = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}\n{% endfor %}"


TOKENIZER = Tokenizer(tokenizers.Tokenizer(BPE()), Vocabulary((), False), {"eos_token": "</s>"})


def _template(directory: Path, source: str) -> ChatTemplate:
    (directory / "chat_template.jinja").write_text(source)
    return ChatTemplate.load(directory, TOKENIZER)


def test_messages_and_special_tokens_are_filled_in(tmp_path: Path) -> None:
    template = _template(tmp_path, CHATML + "{% if add_generation_prompt %}<|assistant|>{% endif %}")
    messages = [{"role": "user", "content": "안녕 <b>"}]
    assert template.render(messages) == "<|user|>안녕 <b></s>\n<|assistant|>"
    assert template.render(messages, add_generation_prompt=False) == "<|user|>안녕 <b></s>\n"


def test_a_template_that_refuses_says_so_at_the_messages_field(tmp_path: Path) -> None:
    template = _template(tmp_path, "{{ raise_exception('roles must alternate') }}")
    with pytest.raises(InvalidRequest, match="roles must alternate") as refusal:
        template.render([{"role": "user", "content": "x"}])
    assert refusal.value.param == "messages"


def test_a_base_model_without_template_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="/v1/completions"):
        ChatTemplate.load(tmp_path, TOKENIZER).render([])


@pytest.mark.parametrize(
    "attack", ["{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{{ cycler.__init__.__globals__ }}"]
)
def test_a_template_cannot_leave_its_sandbox(tmp_path: Path, attack: str) -> None:
    with pytest.raises(InvalidRequest):
        _template(tmp_path, attack).render([])


def test_a_broken_template_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(EngineRefused, match="jinja:2 "):
        _template(tmp_path, "\n{% for %}")
