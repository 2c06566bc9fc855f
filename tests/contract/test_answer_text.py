"""The text of a SentencePiece model's answers, on every backend. A bias makes the sample's weights say it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from support import sentencepiece_tokenizer, trtllm_repository
from support.servers import gateway_and_triton, gateway_server

from slipway.contract.manifest import FILE_NAME, FileDigest, Manifest
from slipway.triton.repository import write_repository

USER = {"role": "user", "content": "capital"}
OPENED = [USER, {"role": "assistant", "content": "It is"}]
ENCODER = sentencepiece_tokenizer.encoder()
PARIS = ENCODER.token_to_id("▁Paris")


@dataclass(frozen=True)
class Served:
    url: str
    model: str

    def ask(self, path: str, **body: Any) -> Any:
        """The answer of a model that says nothing but " Paris"."""
        bias = {} if "/messages" in path else {"logit_bias": {PARIS: 100}, "temperature": 0}
        asked = {"model": self.model, "max_tokens": 1, **bias, **body}
        response = httpx.post(f"{self.url}{path}", json=asked, timeout=60)
        assert response.status_code == 200, response.text
        return response.json()

    def completion(self, **body: Any) -> Any:
        return self.ask("/v1/completions", **body)["choices"][0]["text"]

    def chat(self, **body: Any) -> Any:
        return self.ask("/v1/chat/completions", **body)["choices"][0]


@pytest.fixture(scope="module")
def engine(engine_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = trtllm_repository.renamed(engine_dir, tmp_path_factory.mktemp("engines"), "pieces")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (directory / name).unlink()
    sentencepiece_tokenizer.write(directory)
    manifest = Manifest.read(directory)
    files = {name: FileDigest.of(directory / name) for name in manifest.files}
    manifest = manifest.model_copy(update={"files": files})
    (directory / FILE_NAME).write_text(manifest.model_dump_json())
    return directory


@pytest.fixture(scope="module")
def behind_triton(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway in front of one Triton that has the engine, and the engine as TensorRT-LLM."""
    place = tmp_path_factory.mktemp("triton")
    compiled = trtllm_repository.compiled_engine(engine, place / "engines")
    trtllm_repository.renamed(engine, compiled.parent, engine.name)
    write_repository(engine, place / "repository")
    onnx = trtllm_repository.renamed(engine, place, compiled.name)
    trtllm_repository.stand_in(compiled, onnx, place / "repository")
    with gateway_and_triton(compiled.parent, place / "repository") as (gateway, _):
        yield gateway.url


@pytest.fixture(scope="module", params=["local", "triton", "trtllm"])
def served(request: pytest.FixtureRequest, engine: Path) -> Iterator[Served]:
    if request.param == "local":
        with gateway_server("--engine", engine) as gateway:
            yield Served(gateway.url, engine.name)
        return
    model = engine.name if request.param == "triton" else trtllm_repository.NAME
    yield Served(request.getfixturevalue("behind_triton"), model)


def test_a_prompt_and_its_completion_join_to_one_text(served: Served) -> None:
    assert served.completion(prompt="The capital is") == " Paris"
    assert served.completion(prompt="The capital is", echo=True) == "The capital is Paris"
    assert (
        served.completion(prompt=ENCODER.encode("The capital is").ids, echo=True)
        == "<s> The capital is Paris"
    )
    assert served.completion(prompt="") == "Paris", "nothing comes before it"


def test_a_stream_of_a_completion_is_the_same_text(served: Served) -> None:
    body = {
        "model": served.model,
        "prompt": "in",
        "max_tokens": 3,
        "stream": True,
        "logit_bias": {PARIS: 100},
    }
    text = ""
    with httpx.stream("POST", f"{served.url}/v1/completions", json=body, timeout=60) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                text += json.loads(line.removeprefix("data: "))["choices"][0]["text"]
    assert text == " Paris" * 3


def test_an_answer_that_begins_a_turn_begins_without_a_blank_and_so_do_its_log_probabilities(
    served: Served,
) -> None:
    choice = served.chat(messages=[USER], max_tokens=2, logprobs=True)
    assert choice["message"]["content"] == "Paris Paris"
    assert [each["token"] for each in choice["logprobs"]["content"]] == ["Paris", " Paris"]


def test_an_answer_that_is_begun_goes_on_with_its_blank(served: Served) -> None:
    continued = served.chat(messages=OPENED, continue_final_message=True, add_generation_prompt=False)
    assert continued["message"]["content"] == " Paris"


def test_a_grammar_binds_the_text_that_the_client_gets(served: Served) -> None:
    bound = served.chat(messages=[USER], max_tokens=9, structured_outputs={"regex": " Paris( Paris)"})
    assert bound["message"]["content"] == " Paris Paris"
