"""Chat templates from their source, with a tokenizer that knows nothing."""

from pathlib import Path

import tokenizers
from tokenizers.models import BPE

from slipway.text.template import ChatTemplate
from slipway.text.tokenizer import Tokenizer
from slipway.text.vocabulary import Vocabulary

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


TOKENIZER = Tokenizer(tokenizers.Tokenizer(BPE()), Vocabulary(), SPECIAL)


USER = {"role": "user", "content": '날씨가 어때요? <b>"&"</b> {{ 1 }} 🇰🇷'}


def template_of(directory: Path, source: str) -> ChatTemplate:
    (directory / "chat_template.jinja").write_text(source)
    return ChatTemplate.load(directory, TOKENIZER)
