"""What the gateway makes of errors and states of Triton."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from slipway.contract.errors import EngineFailed, EngineRefused, ModelUnavailable
from slipway.gateway.backends import triton_repository
from slipway.gateway.backends.triton_model import TritonModel

ASSERTION = (
    "Executor failed process requestId 1 due to the following error: Encountered an error in forwardAsync: "
    "[TensorRT-LLM][ERROR] Assertion failed: Invalid cache "
    "(/src/tensorrt_llm/cpp/tensorrt_llm/batch_manager/kvCacheManager.cpp:588)\n"
    "1       0x7f3b /usr/local/lib/python3.12/dist-packages/tensorrt_llm/libs/libtensorrt_llm.so(+0x9) [0x7f]"
)


async def test_an_engines_error_is_its_first_line_without_folders() -> None:
    model = TritonModel("mine", "127.0.0.1:1", frozenset(), {})
    error = model._typed(ASSERTION)
    await model.close()
    assert isinstance(error, EngineFailed)
    assert str(error).endswith("Assertion failed: Invalid cache.")
    assert not set("/\n") & set(str(error))


async def test_the_sentence_of_a_refusal_stays_whole() -> None:
    model = TritonModel("mine", "127.0.0.1:1", frozenset(), {})
    error = model._typed("[INVALID_ARG] text_input names /a/b/c, 1/2 and/or more.")
    await model.close()
    assert str(error) == "Triton refuses the request: text_input names /a/b/c, 1/2 and/or more."


class Repository:
    """Triton's model control: the states of the models, and how many questions each needs to unload."""

    def __init__(self, **unloading: int | None) -> None:
        self.left = {name.replace("_", "."): count for name, count in unloading.items()}
        self.states = dict.fromkeys(self.left, "READY")
        self.loaded: list[str] = []

    async def load_model(self, name: str, client_timeout: float) -> None:
        self.loaded.append(name)

    async def unload_model(self, name: str, client_timeout: float) -> None:
        self.states[name] = "UNLOADING"

    async def get_model_repository_index(self, client_timeout: float) -> Any:
        for name, state in self.states.items():
            count = self.left[name]
            if state == "UNLOADING" and count is not None:
                self.left[name] = count - 1
                if count <= 0:
                    self.states[name] = "UNAVAILABLE"
        entries = [SimpleNamespace(name=name, state=state, reason="") for name, state in self.states.items()]
        return SimpleNamespace(models=entries)


STAGES = {"m_preprocessing": 1, "m_engine": 1, "m_postprocessing": 1}


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_repository, "_POLL_S", 0.001)
    monkeypatch.setattr(triton_repository, "UNLOAD_TIMEOUT_S", 0.1)


def test_an_unload_ends_when_every_stage_is_gone() -> None:
    triton = Repository(m=3, **STAGES)
    asyncio.run(triton_repository.unload(triton, "m", stages=True))  # type: ignore[arg-type]
    assert set(triton.states.values()) == {"UNAVAILABLE"}


def test_a_stage_that_never_unloads_is_named_and_triton_must_be_restarted() -> None:
    triton = Repository(m=1, **{**STAGES, "m_engine": None})
    with pytest.raises(EngineRefused, match=r"m\.engine still holds its memory .*, restart Triton to"):
        asyncio.run(triton_repository.unload(triton, "m", stages=True))  # type: ignore[arg-type]
    assert triton.states["m.preprocessing"] == "UNAVAILABLE", "the other stages are gone"
    with pytest.raises(ModelUnavailable, match=r"m\.engine is still being unloaded; .* restart Triton"):
        asyncio.run(triton_repository.load(triton, "m"))  # type: ignore[arg-type]
    assert triton.loaded == []


def test_answers_that_run_on_are_waited_for_up_to_the_bound() -> None:
    triton = Repository(m=None, **STAGES)
    with pytest.raises(ModelUnavailable, match=r"m still has running answers .*; unload it again when they"):
        asyncio.run(triton_repository.unload(triton, "m", stages=True))  # type: ignore[arg-type]
    assert triton.states["m.engine"] == "READY", "the answers need it"


REFUSED = (
    "Internal: EngineRefused: Another version of Slipway wrote the Triton models of m; run `python -m build "
    "repository engines/m`, and start Triton again.\n\nAt:\n  /app/slipway/triton/layout.py(46): check"
)


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        ({}, "it is not in its model repository"),
        ({"m": ("", "")}, "it is not loaded; POST /models/load loads it"),
        ({"m": ("UNAVAILABLE", "unloaded")}, "it is not loaded; POST /models/load loads it"),
        ({"m": ("LOADING", ""), "m.engine": ("LOADING", "")}, "it is loading"),
        ({"m": ("UNAVAILABLE", "Internal: no memory\n\nAt: x")}, "Internal: no memory"),
        (
            {"m": ("", ""), "m.engine": ("READY", ""), "m.preprocessing": ("UNAVAILABLE", REFUSED)},
            "Another version of Slipway wrote the Triton models of m; run `python -m build repository "
            "engines/m`, and start Triton again",
        ),
        (
            {"m": ("", ""), "m.preprocessing": ("UNAVAILABLE", "unloaded"), "n": ("UNAVAILABLE", REFUSED)},
            "it is not loaded; POST /models/load loads it",
        ),
    ],
)
def test_the_reason_of_a_model_is_its_own_or_that_of_a_stage(
    states: dict[str, tuple[str, str]], reason: str
) -> None:
    class Index:
        async def get_model_repository_index(self, client_timeout: float) -> Any:
            entries = [
                SimpleNamespace(name=name, state=state, reason=why) for name, (state, why) in states.items()
            ]
            return SimpleNamespace(models=entries)

    assert asyncio.run(triton_repository.why_not_ready(Index(), "m")) == reason  # type: ignore[arg-type]
