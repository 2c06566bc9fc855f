"""How long answers are when the request does not say."""

import json
from pathlib import Path

import pytest
from support import tiny_checkpoints as tiny
from support.paths import ROOT

from build.checkpoint.answer_length import default_max_tokens
from slipway.contract.errors import CheckpointError

QWQ = (ROOT / "tests/golden/chat_templates/qwq.jinja").read_text()


def test_generation_config_decides_and_else_whether_the_model_thinks(tmp_path: Path) -> None:
    assert default_max_tokens(tmp_path, None) == default_max_tokens(tmp_path, tiny.TEMPLATE) == 2048
    assert default_max_tokens(tmp_path, QWQ) == 8192
    config = tmp_path / "generation_config.json"
    config.write_text('{"max_length": 20, "max_new_tokens": null}')
    assert default_max_tokens(tmp_path, None) == 2048
    config.write_text('{"max_new_tokens": 512}')
    assert default_max_tokens(tmp_path, None) == default_max_tokens(tmp_path, QWQ) == 512


@pytest.mark.parametrize("value", [0, -1, "512", 1.5, True])
def test_what_is_no_number_of_tokens_is_named(tmp_path: Path, value: object) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"max_new_tokens": value}))
    with pytest.raises(CheckpointError, match=rf"generation_config\.json: max_new_tokens {value!r} is no "):
        default_max_tokens(tmp_path, None)
