"""What ends an answer, and what the build says of it."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console
from support import tiny_checkpoints as tiny
from support.paths import GOLDEN

from build import summary
from build.checkpoint.checkpoint import Checkpoint
from build.checkpoint.ends import find_ends
from build.checkpoint.turn_end import TurnEnd, turn_end
from slipway.contract.errors import InvalidRequest
from slipway.text.tokenizer import Tokenizer

FAMILIES = {
    "chatml": "<|im_end|>",
    "deepseek-coder": "<|EOT|>",
    "llama-2": "</s>",
    "llama-3": "<|eot_id|>",
    "llama-3.1": "<|eot_id|>",
    "llama-3.2": "<|eot_id|>",
    "mistral-7b-v0.1": "</s>",
    "mistral-7b-v0.3": "</s>",
    "mistral-nemo": "</s>",
    "qwen2": "<|im_end|>",
    "qwen2.5": "<|im_end|>",
    "qwen3": "<|im_end|>",
    "qwq": "<|im_end|>",
}
NAMES = ("<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|EOT|>")


def words(names: Sequence[str] = NAMES) -> Tokenizer:
    encoder = tiny.tokenizer()
    encoder.add_special_tokens(list(names))
    return Tokenizer.of(json.loads(encoder.to_str()), {"bos_token": "<s>", "eos_token": "</s>"})


def end_of(template: str, names: Sequence[str] = NAMES) -> str | None:
    end = turn_end(template, words(names))
    return end.text if end is not None and end.token_id is not None else None


def test_every_published_template_shows_what_ends_a_turn() -> None:
    found = {
        path.stem: end_of(path.read_text(encoding="utf-8"))
        for path in (GOLDEN / "chat_templates").glob("*.jinja")
    }
    assert found == FAMILIES


def turns(text: str) -> str:
    return "{% for m in messages %}" + text + "{% endfor %}"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (turns("{{ m.content | trim }} \n </s>"), "</s>"),
        (turns("<|im_start|>{{ m.content }}<|im_end|></s>"), "<|im_end|>"),  # the first of two
        (turns("{{ m.content }}{% if not loop.last %}</s>{% endif %}"), "</s>"),
        (turns("<|im_start|>{{ m.role }} {{ m.content }}\n"), "<|im_start|>"),  # what begins the next turn
        (turns("{{ m.role }}: {{ m.content }}\n"), None),
        (turns("{{ m.content }} and </s>"), None),
        (turns("{{ m.role }}"), None),  # it does not show the content
        ("{{ raise_exception('no') }}", None),
        ("{{ messages[0].content }}{% if messages | length > 2 %}{{ 1 / 0 }}{% endif %}", None),
        ("{% for %}", None),
    ],
)
def test_the_special_token_behind_an_answer_ends_a_turn(template: str, expected: str | None) -> None:
    assert end_of(template) == expected


def test_a_name_that_is_no_token_is_no_end_but_a_hint(tmp_path: Path) -> None:
    template = turns("<|im_start|>{{ m.content }}<|im_end|>")
    assert turn_end(template, words(names=())) == TurnEnd("<|im_end|>", None)
    folder = tiny.write(tmp_path / "model")
    tiny.write_tokenizer(folder, chat_template=template)
    (hint,) = Checkpoint.open(folder).hints()
    assert "ends a turn with <|im_end|>, which the tokenizer does not have" in hint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A ChatML fine-tune whose files name the base's end only."""
    folder = tiny.write(tmp_path / "model")
    tiny.write_tokenizer(folder, extra=2, chat_template=turns("{{ m.content }}<extra_1>"))
    return folder


def test_the_end_of_a_turn_that_no_file_names_ends_a_sequence(folder: Path) -> None:
    ends = Checkpoint.open(folder).ends
    assert [(end.token_id, end.text, end.only_shown) for end in ends] == [
        (257, "</s>", False),
        (259, "<extra_1>", True),
    ]


def test_inspect_says_where_each_end_comes_from(folder: Path) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 257]}))
    with Console(width=200, record=True) as console:
        summary.show(Checkpoint.open(folder), console)
    text = console.export_text()
    assert "& (5; generation_config.json)" in text
    assert "</s> (257; generation_config.json, config.json, tokenizer_config.json)" in text
    assert "<extra_1> (259; chat template)" in text


def test_a_special_token_in_chat_stop_ends_a_sequence(folder: Path) -> None:
    files = Checkpoint.open(folder).tokenizer
    ends = find_ends(folder, 264, files, [None], ["<extra_0>", "END"])
    assert [(end.token_id, end.sources[-1]) for end in ends][-1] == (258, "chat.stop")
    with pytest.raises(InvalidRequest, match=r"chat\.stop has '<extra_0>\\n', which no answer can have"):
        find_ends(folder, 264, files, [None], ["<extra_0>\n"])
