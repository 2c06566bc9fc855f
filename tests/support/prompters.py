"""Prompters of engines whose checkpoints have a published chat template; the tokenizer is tiny."""

from functools import cache
from pathlib import Path

from support import manifests, tiny_checkpoints
from support.paths import GOLDEN
from support.templates import template_of

from slipway.contract.generation import GenerationRequest
from slipway.contract.recipe import Chat, Limits
from slipway.gateway.prompter import Prompter
from slipway.gateway.query import Conversation, Query
from slipway.text.special_tokens import SpecialTokenEscaper
from slipway.text.template import ChatTemplate, TemplateSource
from slipway.text.template_features import TemplateFeatures
from slipway.text.tokenizer import Tokenizer

FAMILIES = sorted(path.stem for path in (GOLDEN / "chat_templates").glob("*.jinja"))
_LIMITS = Limits(max_batch_size=1, max_input_len=100_000, max_seq_len=200_000)


@cache
def prompter(folder: Path, family: str, system: str | None = None) -> Prompter:
    """system: the recipe's system prompt."""
    return prompter_of(folder, (GOLDEN / "chat_templates" / f"{family}.jinja").read_text(), system)


def prompter_of(folder: Path, source: str, system: str | None = None) -> Prompter:
    """With this chat template. folder: for its files."""
    tiny_checkpoints.write_tokenizer(folder)
    tokenizer = Tokenizer.load(folder)
    template = template_of(folder, source)
    features = TemplateFeatures.read(template, None)
    manifest = manifests.manifest(_LIMITS, 1000, Chat(system=system))
    return Prompter(manifest, tokenizer, template.source, features, SpecialTokenEscaper.of(tokenizer))


def requests(by: Prompter, query: Query) -> list[GenerationRequest]:
    """Those of a query; its conversation is rendered in this process."""
    if not isinstance(query.prompt, Conversation):
        return by.requests(query, "id", "")
    source = by.template
    template = _template(source.plain, source.with_tools, tuple(source.special_tokens.items()))
    return by.requests(query, "id", template.render(**by.conversation(query)))


@cache
def _template(
    plain: str | None, with_tools: str | None, special_tokens: tuple[tuple[str, str], ...]
) -> ChatTemplate:
    return ChatTemplate.of(TemplateSource(plain, with_tools, dict(special_tokens)))
