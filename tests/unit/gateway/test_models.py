"""Which models a server has."""

import asyncio
from typing import cast

import pytest
from support.queries import manifest

from slipway.contract import errors as contract_errors
from slipway.contract.errors import InvalidRequest, ModelNotFound, ModelUnavailable
from slipway.gateway import errors as gateway_errors
from slipway.gateway.backends.base import Backend
from slipway.gateway.errors import (
    ModelForbidden,
    http_error,
)
from slipway.gateway.keys.keys import UNRESTRICTED, Caller
from slipway.gateway.models import Model, Models
from slipway.gateway.prompter import Prompter
from slipway.gateway.queue import EngineQueue
from slipway.gateway.rendering import Rendering
from slipway.text.special_tokens import SpecialTokenEscaper
from slipway.text.template import TemplateSource
from slipway.text.template_features import TemplateFeatures
from slipway.text.tokenizer import Tokenizer
from slipway.text.turns import TurnRules


def test_every_error_of_the_gateway_has_one_row_in_the_table() -> None:

    for module in (contract_errors, gateway_errors):
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, contract_errors.SlipwayError):
                assert 400 <= http_error(kind("x")).status <= 504


def model(name: str, backend: object = None) -> Model:
    named = manifest().model_copy(update={"name": name})
    prompter = Prompter(
        named,
        cast(Tokenizer, None),
        cast(TemplateSource, None),
        TemplateFeatures(False, None, False, frozenset(), frozenset(), TurnRules(), TurnRules()),
        cast(SpecialTokenEscaper, None),
    )
    return Model(prompter, cast(Backend, backend), EngineQueue(name, 1, 0), cast(Rendering, None))


class Probed:
    def __init__(self, why_not: str | None) -> None:
        self.why_not = why_not

    async def probe(self) -> None:
        if self.why_not is not None:
            raise ModelUnavailable(self.why_not)


async def test_a_server_none_of_whose_models_answers_says_why_of_each() -> None:
    away = [model("a", Probed("a is not loaded.")), model("b", Probed("b starts again."))]
    with pytest.raises(ModelUnavailable, match=r"^a is not loaded\. b starts again\.$"):
        await Models(away).check()
    await Models([*away, model("c", Probed(None))]).check()


class Unloading(Probed):
    def __init__(self) -> None:
        super().__init__("it is not loaded.")
        self.freed = asyncio.Event()
        self.loads = 0

    async def unload(self) -> None:
        await self.freed.wait()

    async def load(self) -> None:
        self.loads += 1


async def test_a_model_that_is_being_unloaded_is_not_loaded_and_holds_up_no_other() -> None:
    leaving, other = Unloading(), Unloading()
    models = Models([model("a", leaving), model("b", other)])
    unload = asyncio.create_task(models.unload("a", UNRESTRICTED))
    await asyncio.sleep(0)
    for change in (models.load, models.unload):
        with pytest.raises(ModelUnavailable, match="a is being unloaded; wait until that has ended"):
            await change("a", UNRESTRICTED)
    await models.load("b", UNRESTRICTED)
    assert (leaving.loads, other.loads) == (0, 1)
    leaving.freed.set()
    await unload
    await models.load("a", UNRESTRICTED)
    assert leaving.loads == 1


async def test_an_alias_finds_its_model_by_the_rights_to_the_model() -> None:
    models = Models([model("a"), model("b")], aliases={"gpt-4o": "a", "b": "a", "*": "b"})
    assert [(await models.find(name)).name for name in ("a", "gpt-4o", "b", "claude")] == ["a", "a", "b", "b"]
    assert models.aliases_of(await models.find("a")) == ["gpt-4o"]
    assert models.aliases_of(await models.find("b")) == []
    card = (await models.find("gpt-4o")).card("gpt-4o")
    assert (card.id, card.root) == ("gpt-4o", "a")
    only_b = Caller("one", frozenset({"b", "gpt-4o"}))
    with pytest.raises(ModelForbidden):
        await models.find("gpt-4o", only_b)
    assert (await models.find("claude", only_b)).name == "b"


async def test_where_one_model_is_served_it_need_not_be_named() -> None:
    assert (await Models([model("a")]).find(None)).name == "a"
    with pytest.raises(InvalidRequest, match="a, b") as caught:
        await Models([model("a"), model("b")]).find(None)
    assert caught.value.param == "model"
    two = Models([model("a"), model("b")])
    only_b = Caller("one", frozenset({"b", "c"}))
    assert (await two.find(None, only_b)).name == "b"
    with pytest.raises(ModelForbidden):
        await two.find("a", only_b)
    with pytest.raises(ModelNotFound, match="served models: b") as unknown:
        await two.find("c", only_b)
    assert "a" not in str(unknown.value).rpartition(":")[2]
