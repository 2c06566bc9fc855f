"""Chat templates from their source."""

from pathlib import Path

from slipway.text.template import ChatTemplate, TemplateSource

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


USER = {"role": "user", "content": '날씨가 어때요? <b>"&"</b> {{ 1 }} 🇰🇷'}


def template_of(directory: Path, source: str) -> ChatTemplate:
    (directory / "chat_template.jinja").write_text(source)
    return ChatTemplate.of(TemplateSource.read(directory, SPECIAL))
