"""The text of an answer of a SentencePiece model: what comes after the prompt, or the beginning of a turn."""

import json
from typing import Any, cast

import pytest
from support import manifests, sentencepiece_tokenizer
from support.prompters import requests
from support.queries import chat, completion
from support.turns import turn

from slipway.contract.generation import Delta, GenerationRequest
from slipway.contract.manifest import FILE_NAME, FileDigest
from slipway.contract.recipe import Limits
from slipway.gateway.answers.answer import Answer, Listener, stream_answer
from slipway.gateway.backends.base import Backend
from slipway.gateway.messages.schema import MessagesRequest
from slipway.gateway.prompter import Prompter
from slipway.gateway.query import Query
from slipway.gateway.shapes.parsing import parse
from slipway.text.detokenizer import Detokenizer

USER = {"role": "user", "content": "capital"}
OPENED = [USER, {"role": "assistant", "content": "It is"}]
LIMITS = Limits(max_batch_size=1, max_input_len=200, max_seq_len=256)


@pytest.fixture(scope="module")
def prompter(tmp_path_factory: pytest.TempPathFactory) -> Prompter:
    folder = tmp_path_factory.mktemp("engine")
    size = sentencepiece_tokenizer.write(folder)
    files = {path.name: FileDigest.of(path) for path in folder.iterdir()}
    manifest = manifests.manifest(LIMITS, vocab_size=size).model_copy(update={"files": files})
    (folder / FILE_NAME).write_text(manifest.model_dump_json())
    return Prompter.load(folder)


class Speaks:
    """A backend whose engine says these tokens, one a step."""

    stats = None

    def __init__(self, prompter: Prompter, tokens: list[str]) -> None:
        self.ids = [prompter.tokenizer.encoder.token_to_id(token) for token in tokens]
        self._detokenizer = Detokenizer(prompter.tokenizer)

    async def generate(self, request: GenerationRequest) -> Any:
        for index in self.ids:
            yield Delta(self._detokenizer.push([index]), 1, (index,), (-1.0,))
        yield Delta(finish_reason="length")


async def answered(prompter: Prompter, query: Query, tokens: list[str]) -> tuple[GenerationRequest, Answer]:
    [request] = requests(prompter, query)
    listener = Listener(
        prompter.interpretation(query, request),
        prompter.unpadder(query, request),
        prompter.log_probs(query, request),
    )
    answer = Answer()
    backend = cast(Backend, Speaks(prompter, tokens))
    async for piece in stream_answer(backend, request, turn(), listener):
        answer.add(piece)
    return request, answer


@pytest.mark.parametrize("prompt", ["The capital is", "def f(x):\n", "", " ", "a  "])
@pytest.mark.parametrize("tokens", [["▁Paris", "."], ["▁▁▁▁", "▁Hi"], ["▁", "▁", "a"], ["a", "▁Paris"]])
async def test_a_prompt_and_its_completion_are_the_text_of_all_tokens(
    prompter: Prompter, prompt: str, tokens: list[str]
) -> None:
    request, answer = await answered(prompter, completion(prompt=prompt, logprobs=0), tokens)
    said = [prompter.tokenizer.encoder.token_to_id(token) for token in tokens]
    assert prompt + answer.text == prompter.tokenizer.decode([*request.prompt_token_ids, *said])
    assert b"".join(each.chosen.bytes for each in answer.chosen).decode() == answer.text
    assert "".join(each.chosen.token for each in answer.chosen) == answer.text


async def test_a_prompt_of_token_ids_is_gone_on_from_in_the_same_way(prompter: Prompter) -> None:
    ids = prompter.tokenizer.encode("The capital is")
    _, answer = await answered(prompter, completion(prompt=ids), ["▁Paris"])
    assert prompter.tokenizer.text(ids) + answer.text == "<s> The capital is Paris"


async def test_an_answer_that_begins_a_turn_has_no_blank_before_it_and_only_one_is_taken(
    prompter: Prompter,
) -> None:
    for tokens, text in ((["▁Paris", "▁Hi"], "Paris Hi"), (["▁▁▁▁", "a"], "   a"), (["▁", "▁Hi"], " Hi")):
        query = chat(messages=[USER], logprobs=True, top_logprobs=1)
        _, answer = await answered(prompter, query, tokens)
        assert answer.text == text
        assert b"".join(each.chosen.bytes for each in answer.chosen).decode() == text
        offsets = [0, len(text) - len(tokens[-1])]
        assert [each.offset for each in answer.chosen] == offsets


async def test_the_beginning_of_an_answer_is_gone_on_from_with_its_blank(prompter: Prompter) -> None:
    body = {"model": "m", "max_tokens": 9, "messages": OPENED}
    prefilled = parse(json.dumps(body).encode(), MessagesRequest).query()
    continued = chat(messages=OPENED, continue_final_message=True, add_generation_prompt=False)
    for query in (prefilled, continued):
        _, answer = await answered(prompter, query, ["▁Paris"])
        assert OPENED[-1]["content"] + answer.text == "It is Paris"


async def test_a_text_bound_by_a_grammar_is_what_the_grammar_matched(prompter: Prompter) -> None:
    query = chat(messages=[USER], structured_outputs={"regex": " Paris"})
    _, answer = await answered(prompter, query, ["▁Paris"])
    assert answer.text == " Paris"
