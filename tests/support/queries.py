"""Queries of chats and completions, checked against an engine with small limits."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from support import manifests

from slipway.contract.errors import InvalidRequest
from slipway.contract.generation import SamplingParams
from slipway.contract.manifest import Manifest
from slipway.contract.recipe import Chat, Limits
from slipway.gateway.chat.schema import ChatCompletionRequest
from slipway.gateway.completions.schema import CompletionRequest
from slipway.gateway.conversation import template_messages
from slipway.gateway.query import Conversation, Query
from slipway.gateway.shapes.parsing import parse
from slipway.gateway.validation import check_query, sampling

MESSAGES = [{"role": "user", "content": "Hi"}]


LIMITS = Limits(max_batch_size=4, max_input_len=100, max_seq_len=128)


def manifest(
    system: str | None = None, stop: tuple[str, ...] = (), max_tokens: int | None = None
) -> Manifest:
    chat = Chat(system=system, stop=stop, max_tokens=max_tokens)
    return manifests.manifest(LIMITS, vocab_size=1000, chat=chat)


def chat(**fields: object) -> Query:
    body = json.dumps({"model": "m", "messages": MESSAGES, **fields}).encode()
    query = parse(body, ChatCompletionRequest).query()
    check_query(query)
    return query


def completion(**fields: object) -> Query:
    return parse(json.dumps({"model": "m", "prompt": "x", **fields}).encode(), CompletionRequest).query()


def asked(query: Query, prompt_tokens: int = 1, prompt_source: str = "messages") -> SamplingParams:
    """What an engine is asked for."""
    return sampling(query, prompt_tokens, manifest(), prompt_source)


def rendered(system: str | None = None, **fields: object) -> list[Mapping[str, Any]]:
    """The messages that the chat template reads."""
    conversation = chat(**fields).prompt
    assert isinstance(conversation, Conversation)
    return template_messages(conversation.messages, system)


def refused(**fields: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        chat(**fields)
    return caught.value
