"""An engine of target tensorrt-llm-llmapi, built and served as shipped, in the real Triton.

What stands in for TensorRT-LLM is its LLM class (tests/support/fake_tensorrt_llm.py), which runs our ONNX
engine; the gateway's answers are those over the same engine served as ONNX.
"""

import ast
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml
from support import trtllm_stand_in
from support.gateway_replies import asked, streamed, whole
from support.paths import ROOT
from support.servers import gateway_and_triton
from support.triton_calls import Stream, chat, gauge
from support.trtllm_repository import renamed
from support.waiting import wait_until
from tritonclient.utils import InferenceServerException

from build import engine as engine_build
from slipway.contract.manifest import FILE_NAME, Manifest
from slipway.text.tokenizer import Tokenizer
from slipway.triton.repository import write_repository

NAME, TWIN, BEHIND = "llmapi", "twin", "behind"
ENDLESS = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10,"
QUESTION = chat("What is the capital of France?")


@dataclass(frozen=True)
class Triton:
    grpc: str
    metrics: str
    gateway: str
    arguments: Path

    def reply(self, model: str, path: str, body: dict[str, object]) -> httpx.Response:
        return httpx.post(f"{self.gateway}/v1/{path}", json=body | {"model": model}, timeout=60)

    def running(self) -> float:
        return gauge(self.metrics, "slipway_running_requests", NAME)

    def texts(self, prompt: str, **inputs: np.ndarray) -> list[tuple[str, str, int]]:
        """Text so far, finish reason and tokens of each response that a client of Triton itself gets."""
        tensors = {"text_input": np.array([prompt.encode()], object), **inputs}
        tensors["return_finish_reason"] = np.array([True])
        stream = Stream(self.grpc, NAME, "", **tensors)
        return [
            (
                result.as_numpy("text_output")[0].decode(),
                result.as_numpy("finish_reason")[0].decode(),
                int(result.as_numpy("num_output_tokens")[0]),
            )
            for result in stream
        ]


@pytest.fixture(scope="module")
def triton(
    engine_dir: Path, checkpoint_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Triton]:
    directory = tmp_path_factory.mktemp("llmapi")
    engines, repository = directory / "engines", directory / "repository"
    limits = Manifest.read(engine_dir).limits
    recipe = {
        "name": NAME,
        "checkpoint": str(checkpoint_dir),
        "target": "tensorrt-llm-llmapi",
        "quantization": "none",
        "limits": limits.model_dump(exclude_none=True),
        "parallel": {"tensor": 1, "gpus": [3]},
    }
    (directory / "llmapi.yaml").write_text(yaml.safe_dump(recipe))
    engine_build.build(directory / "llmapi.yaml", None, engines, repository, force=False)
    tokenizer = Tokenizer.load(engine_dir)
    [word] = tokenizer.encode(" Paris")
    assert tokenizer.eos_token_id is not None
    ends = (tokenizer.eos_token_id, word)
    manifest = Manifest.read(engines / NAME).model_copy(update={"eos_token_ids": ends})
    (engines / NAME / FILE_NAME).write_text(manifest.model_dump_json())
    write_repository(renamed(engine_dir, engines, TWIN, eos_token_ids=ends), repository)
    # Triton's Python has the model's own folder on its path.
    installed = trtllm_stand_in.write(directory / "container", gpus=(), program=False)["PYTHONPATH"]
    shutil.copytree(installed, repository / NAME / "1", dirs_exist_ok=True)
    shutil.copy(
        ROOT / "tests" / "support" / "fake_tensorrt_llm.py", repository / NAME / "1" / "tensorrt_llm.py"
    )
    environment = {
        "FAKE_LLM_ENGINE": str(renamed(engine_dir, directory, BEHIND)),
        "FAKE_LLM_ARGUMENTS": str(directory / "arguments"),
        "OMPI_COMM_WORLD_SIZE": "2",
    }
    with gateway_and_triton(engines, repository, env=environment) as (gateway, triton):
        yield Triton(triton.grpc, triton.metrics, gateway.url, directory / "arguments")


CAPITAL = "What is the capital of France?"
HELLO = "Say hello."
SAME = {
    "an end that LLM leaves in": asked(HELLO),
    "an end that it takes off": asked(CAPITAL),
    "such an end in the place of the last token": asked(CAPITAL, max_tokens=6),
    "a stop string inside of tokens": asked(CAPITAL, stop=["apital o"]),
    "a stop string over tokens": asked(CAPITAL, stop=["f Fra", "xyz"]),
    "a stop token": asked(CAPITAL, stop_token_ids=[282]),  # " of"
    "a stop token that is shown": asked(CAPITAL, stop_token_ids=[282], include_stop_str_in_output=True),
    "a stop token in the place of the last": asked(CAPITAL, stop_token_ids=[282], max_tokens=3),
    "Korean": asked("한국의 수도는 어디인가요? 한국어로 답하세요.", max_tokens=30),
    "emoji, cut in the middle of one": asked("Repeat emojis: 😀 😃 😄 😁 😆 😅 😂 🤣", max_tokens=22),
    "several": asked("Tell a story.", n=3, max_tokens=10),
    "a seed without effect": asked("Tell a story.", seed=7, max_tokens=10),
}


@pytest.mark.parametrize("case", SAME)
def test_the_gateways_answer_is_that_of_an_onnx_engine(triton: Triton, case: str) -> None:
    answers = [whole(triton.reply(model, "chat/completions", SAME[case])) for model in (NAME, TWIN)]
    assert answers[0][0] == answers[1][0]
    # Past a stop string, as many tokens count as were on their way when it was read.
    assert "stop" in SAME[case] or answers[0][1] == answers[1][1]


@pytest.mark.parametrize("case", ["Korean", "emoji, cut in the middle of one", "an end that it takes off"])
def test_a_stream_has_the_same_text_in_whole_characters(triton: Triton, case: str) -> None:
    body = SAME[case] | {"stream": True, "stream_options": {"include_usage": True}}
    [(said, reason)], usage = whole(triton.reply(TWIN, "chat/completions", SAME[case]))
    pieces, ended, tokens = streamed(triton.reply(NAME, "chat/completions", body))
    assert ("".join(pieces), ended, tokens) == (said, reason, usage["completion_tokens"])
    assert len(pieces) > 3, "it came in pieces"


def test_answers_are_sampled_when_the_body_says_so(triton: Triton) -> None:
    body = asked("Tell a story.", temperature=1.5, n=3, max_tokens=10)
    answers, usage = whole(triton.reply(NAME, "chat/completions", body))
    assert len(set(answers)) > 1
    reasons = [reason for _, reason in answers]
    assert usage["completion_tokens"] == 30 or "stop" in reasons, "drawn, one may end by itself"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 7),
        ("presence_penalty", 0.5),
        ("frequency_penalty", 0.5),
        ("repetition_penalty", 1.1),
        ("min_tokens", 5),
        ("ignore_eos", True),
        ("response_format", {"type": "json_object"}),
        ("structured_outputs", {"regex": "a"}),
    ],
)
def test_what_the_contract_cannot_do_is_refused_by_name(triton: Triton, field: str, value: object) -> None:
    for stream in (False, True):
        body = asked(HELLO, **{"temperature": 1.0, "stream": stream, field: value})
        reply = triton.reply(NAME, "chat/completions", body)
        assert reply.status_code == 400
        error = reply.json()["error"]
        assert (error["param"], error["code"]) == (field, "unsupported_value")
        assert NAME in error["message"]


def test_a_client_of_the_gateway_that_leaves_frees_the_engine(triton: Triton) -> None:
    body = {"model": NAME, "prompt": ENDLESS, "temperature": 0, "max_tokens": 8000, "stream": True}
    with httpx.stream("POST", f"{triton.gateway}/v1/completions", json=body, timeout=60) as reply:
        lines = reply.iter_lines()  # kept: when it is collected, the stream ends
        next(lines)
        wait_until(lambda: triton.running() == 1)
    wait_until(lambda: triton.running() == 0)


def test_a_stop_string_frees_the_engine(triton: Triton) -> None:
    body = {"prompt": ENDLESS, "temperature": 0, "max_tokens": 8000, "stop": ["15"]}
    assert whole(triton.reply(NAME, "completions", body))[0] == [(" 11, 12, 13, 14, ", "stop")]
    wait_until(lambda: triton.running() == 0)


def test_a_client_of_triton_gets_upstreams_whole_text_so_far(triton: Triton) -> None:
    asks = {"sampling_param_max_tokens": np.array([40], np.int32)}
    responses = triton.texts(QUESTION, streaming=np.array([True]), **asks)
    texts, reasons, tokens = zip(*responses, strict=True)
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert reasons == ("None",) * (len(texts) - 1) + ("stop",)
    assert list(tokens) == sorted(tokens)
    assert texts[-1] == "The capital of France is", "Paris ends a sequence here, and has no text"
    assert triton.texts(QUESTION, **asks) == responses[-1:], "one response without streaming"


def test_a_client_of_triton_gives_stop_strings_as_text(triton: Triton) -> None:
    stop = np.array([b"xyz", b"f Fra"], object)
    [(text, reason, _)] = triton.texts(QUESTION, sampling_param_stop=stop)
    assert (text, reason) == ("The capital o", "stop")


def test_a_request_is_stopped_by_its_id(triton: Triton) -> None:
    endless = {
        "text_input": np.array([ENDLESS.encode()], object),
        "sampling_param_max_tokens": np.array([8000], np.int32),
        "streaming": np.array([True]),
    }
    stream = Stream(triton.grpc, NAME, "mine", **endless)
    next(iter(stream))
    stop = {"text_input": np.array([b""], object), "stop": np.array([True])}
    assert not list(Stream(triton.grpc, NAME, "mine", **stop))
    assert len(list(stream)) < 2000
    wait_until(lambda: triton.running() == 0)


@pytest.mark.parametrize(
    ("tensor", "value", "words"),
    [
        ("sampling_param_seed", np.array([1], np.uint64), "ignores it"),
        ("sampling_param_max_tokens", np.array([9000], np.int32), "ask for fewer"),
        ("sampling_param_top_p", np.array([1.5], np.float32), "between 0 and 1"),
        ("return_cumulative_logprob", np.array([True]), "not reported"),
    ],
)
def test_a_client_of_triton_hears_what_is_wrong(
    triton: Triton, tensor: str, value: np.ndarray, words: str
) -> None:
    with pytest.raises(InferenceServerException, match=words) as caught:
        triton.texts(QUESTION, **{tensor: value})
    assert tensor.removeprefix("sampling_param_") in str(caught.value)


def test_llm_is_made_with_what_the_recipe_says(triton: Triton) -> None:
    made = ast.literal_eval(triton.arguments.read_text())
    assert (made["backend"], made["gpus"], made["skip_tokenizer_init"]) == ("pytorch", "3", True)
    assert made["max_batch_size"] == 16
    assert made["kv_cache_config"] == {"free_gpu_memory_fraction": 0.9, "dtype": "auto"}
    assert (Path(made["model"]) / "model.safetensors").is_file()


def test_llm_and_its_workers_get_the_packages_of_the_image_and_no_ranks_of_mpirun(triton: Triton) -> None:
    made = ast.literal_eval(triton.arguments.read_text())
    assert made["mpirun"] is None
    for path in (made["path"], made["worker_path"]):
        # Where a folder comes again, nothing is found any more.
        folders = [Path(folder) for folder in dict.fromkeys(path) if folder]
        own = [any((above / "pyvenv.cfg").is_file() for above in folder.parents) for folder in folders]
        assert any(own)
        assert own == sorted(own), "those of our virtual environment come last"
