"""The tokenizer and chat template of a checkpoint."""

import json
from pathlib import Path
from typing import Any

import pytest
from support import tiny_checkpoints as tiny
from support.checkpoint_refusal import refusal
from tokenizers import Tokenizer as Encoder
from tokenizers import decoders

from build.checkpoint.checkpoint import Checkpoint
from slipway.contract.errors import EngineRefused
from slipway.text.tokenizer import Tokenizer

IM = ("<|im_start|>", "<|im_end|>")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write(tmp_path / "model")


def test_a_missing_tokenizer_is_asked_for(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    assert "tokenizer.json is missing; save the tokenizer of the training run" in refusal(folder)


def test_a_missing_tokenizer_config_is_asked_for(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()
    assert "tokenizer_config.json is missing" in refusal(folder)


@pytest.mark.parametrize("token", [["</s>"], {"text": "</s>"}, 2])
def test_what_is_no_token_is_named(folder: Path, token: object) -> None:
    tiny.write_tokenizer(folder, eos_token=token)
    assert f"has eos_token {token!r}, which is no token" in refusal(folder)


def test_a_slow_tokenizer_hears_how_to_become_a_fast_one(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")
    message = refusal(folder)
    assert "has tokenizer.model but no tokenizer.json" in message
    assert "AutoTokenizer.from_pretrained" in message


def test_more_tokens_than_embedding_rows_is_refused(folder: Path) -> None:
    tiny.write_tokenizer(folder, extra=10)
    message = refusal(folder)
    assert "ids up to 267 ('<extra_9>')" in message
    assert "the embedding has 264 rows" in message
    assert "resize_token_embeddings" in message


def test_as_many_tokens_as_rows_is_fine(folder: Path) -> None:
    tiny.write_tokenizer(folder, extra=6)
    assert Checkpoint.open(folder).tokenizer.largest_id == 263


@pytest.mark.parametrize(("content", "words"), [("{", "is not valid JSON"), ("{}", "describes no tokenizer")])
def test_a_damaged_tokenizer_is_refused(folder: Path, content: str, words: str) -> None:
    (folder / "tokenizer.json").write_text(content)
    assert f"tokenizer.json {words}" in refusal(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_file_that_the_disk_does_not_give_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).symlink_to("/proc/self/mem")  # reading it is an EIO
    assert f"{name} cannot be read (Input/output error); copy or download it again" in refusal(folder)
    with pytest.raises(EngineRefused, match=rf"{name} cannot be read \(Input/output error\)"):
        Tokenizer.load(folder)


def _without_merges(**model: Any) -> dict[str, Any]:
    return {"model": {"type": "BPE", "merges": [], **model}}


@pytest.mark.parametrize(
    "definition",
    [
        [],
        5,
        None,
        {},
        {"model": 5},
        {"model": {"type": "new"}},
        _without_merges(vocab=[]),
        _without_merges(vocab={"a": "b"}),
        _without_merges(vocab={"a": -1}),
        _without_merges(vocab={}),
        _without_merges(vocab={"a": 1}, merges=[["x", "y"]]),
        _without_merges(vocab={"a": 4_000_000_000}) | {"decoder": {"type": "ByteLevel"}},
        _without_merges(vocab={"a": 1}) | {"decoder": 5},
        _without_merges(vocab={"a": 1}) | {"normalizer": {"type": "new"}},
        _without_merges(vocab={"a": 1}) | {"added_tokens": 5},
        _without_merges(vocab={"a": 1}) | {"added_tokens": [5]},
        _without_merges(vocab={"a": 1}) | {"added_tokens": [{"id": 1}]},
        _without_merges(vocab={"a": 1}) | {"version": "9"},
    ],
    ids=repr,
)
def test_what_describes_no_tokenizer_is_one_sentence(folder: Path, definition: Any) -> None:
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    assert "tokenizer.json" in refusal(folder)
    with pytest.raises(EngineRefused, match=r"tokenizer\.json"):
        Tokenizer.load(folder)


@pytest.mark.parametrize("content", ["", "[" * 100_000, "\udcff", "[]", "5", "null"])
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_what_is_no_json_object_is_one_sentence(folder: Path, name: str, content: str) -> None:
    (folder / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    assert name in refusal(folder)
    with pytest.raises(EngineRefused, match=name):
        Tokenizer.load(folder)


def test_an_unknown_decoder_is_refused_before_the_build(folder: Path) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.save(str(folder / "tokenizer.json"))
    assert "WordPiece" in refusal(folder)


@pytest.mark.parametrize(
    ("generation", "config", "tokenizer", "expected"),
    [
        ([5, 6], 7, "</s>", (5, 6, 257)),
        (5, 7, None, (5,)),
        (None, [7, 257], "</s>", (7, 257)),
        (None, None, "</s>", (257,)),
        (None, None, {"content": "</s>"}, (257,)),
    ],
)
def test_what_ends_an_answer(
    folder: Path, generation: Any, config: Any, tokenizer: Any, expected: tuple[int, ...]
) -> None:
    tiny.write_config(folder, eos_token_id=config)
    tiny.write_tokenizer(folder, eos_token=tokenizer, chat_template=None)
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": generation}))
    assert Checkpoint.open(folder).eos_token_ids == expected


def test_a_model_whose_answers_would_never_end_is_refused(folder: Path) -> None:
    tiny.write_config(folder, eos_token_id=None)
    tiny.write_tokenizer(folder, eos_token=None, chat_template=None)
    assert "answers would never end" in refusal(folder)


def test_an_end_of_sequence_outside_the_vocabulary_is_refused(folder: Path) -> None:
    tiny.write_config(folder, eos_token_id=264)
    assert "eos_token_id 264 is not one of the model's 264 tokens" in refusal(folder)


def test_tokens_that_only_the_config_has_reach_the_engine(folder: Path, tmp_path: Path) -> None:
    added = {str(258 + index): {"content": name, "special": True} for index, name in enumerate(IM)}
    tiny.write_tokenizer(folder, added_tokens_decoder=added, eos_token=IM[1])
    checkpoint = Checkpoint.open(folder)
    assert checkpoint.eos_token_ids == (257, 259)
    checkpoint.tokenizer.write(tmp_path, None, None)
    for directory in (folder, tmp_path):
        assert Tokenizer.load(directory).encode(f"{IM[0]}a{IM[1]}") == [
            258,
            *tiny.tokenizer().encode("a").ids,
            259,
        ]
    assert Encoder.from_file(str(tmp_path / "tokenizer.json")).token_to_id(IM[1]) == 259


def test_an_end_of_sequence_that_no_embedding_row_has_is_refused(folder: Path) -> None:
    tiny.write_tokenizer(folder, extra=6, eos_token=IM[1])
    assert f"ids up to 264 ({IM[1]!r}), but the embedding has 264 rows" in refusal(folder)


def test_a_padding_token_that_no_embedding_row_has_is_needed_by_no_answer(folder: Path) -> None:
    tiny.write_tokenizer(folder, extra=6, pad_token="[PAD]")
    assert Checkpoint.open(folder).tokenizer.largest_id == 263


def test_the_engine_gets_the_tokenizer_as_it_was_trained(folder: Path, tmp_path: Path) -> None:
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "</s>", "bos_token": "old"}))
    files = Checkpoint.open(folder).tokenizer
    files.write(tmp_path, files.chat_template, files.tool_template)
    assert (tmp_path / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    assert (tmp_path / "chat_template.jinja").read_text() == tiny.TEMPLATE
    assert not (tmp_path / "chat_template.tool_use.jinja").exists()
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config == {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}


@pytest.mark.parametrize(
    ("inline", "expected"),
    [
        ([{"name": "tool_use", "template": "b"}, {"name": "default", "template": "a"}], "a"),
        ([{"name": "rag", "template": "b"}], None),
        (None, None),
    ],
)
def test_the_chat_template_inside_the_tokenizer_config(
    folder: Path, inline: Any, expected: str | None
) -> None:
    tiny.write_tokenizer(folder, chat_template=inline)
    assert Checkpoint.open(folder).tokenizer.chat_template == expected


def test_the_template_for_tools_goes_to_the_engine_too(folder: Path, tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "b"}, {"name": "default", "template": "a"}]
    tiny.write_tokenizer(folder, chat_template=named)
    files = Checkpoint.open(folder).tokenizer
    files.write(tmp_path, files.chat_template, files.tool_template)
    assert (tmp_path / "chat_template.jinja").read_text() == "a"
    assert (tmp_path / "chat_template.tool_use.jinja").read_text() == "b"
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("c")
    assert Checkpoint.open(folder).tokenizer.tool_template == "c"


def test_a_template_of_another_encoding_is_named(folder: Path) -> None:
    (folder / "chat_template.jinja").write_bytes("한국어".encode("euc-kr"))
    assert "chat_template.jinja cannot be read as UTF-8 text" in refusal(folder)


def test_a_template_file_wins_over_the_inline_one(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("from the file")
    assert Checkpoint.open(folder).tokenizer.chat_template == "from the file"


def test_a_base_model_without_template_gets_a_hint(folder: Path) -> None:
    tiny.write_tokenizer(folder, chat_template=None)
    (hint,) = Checkpoint.open(folder).hints()
    assert "no chat template" in hint
