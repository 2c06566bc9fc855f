"""The models shipped for a TensorRT-LLM engine in the real Triton, with ours behind the engine's tensors, and
the gateway's answers over them: the same as over an ONNX engine in the same Triton.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import httpx
import pytest
from support.gateway_replies import asked, streamed, whole
from support.servers import gateway_and_triton
from support.triton_calls import Stream, ask, chat, gauge
from support.trtllm_repository import NAME, compiled_engine, renamed, stand_in
from support.waiting import wait_until

from slipway.contract.errors import ModelUnavailable
from slipway.contract.generation import GenerationRequest, SamplingParams
from slipway.gateway.backends.ensemble import EnsembleBackend
from slipway.text.tokenizer import Tokenizer
from slipway.triton.repository import write_repository

QUESTION = chat("What is the capital of France?")
KOREAN = chat("한국의 수도는 어디인가요? 한국어로 답하세요.")
BEHIND, TWIN = "behind", "twin"
ENDLESS = {"max_tokens": 8000, "end_id": -1, "stream": True, "text_input": "Once upon a time"}


@dataclass(frozen=True)
class Triton:
    http: str
    grpc: str
    metrics: str
    gateway: str
    end: str  # a word of answers that both engines hold for one more end of a sequence

    def reply(self, model: str, path: str, body: dict[str, object]) -> httpx.Response:
        return httpx.post(f"{self.gateway}/v1/{path}", json=body | {"model": model}, timeout=60)

    def told(self, prompt: str, tokens: int, **inputs: object) -> str:
        return "".join(ask(self.grpc, NAME, prompt, tokens, **({"stream": True} | inputs)))

    def running(self) -> float:
        return gauge(self.metrics, "slipway_running_requests", BEHIND)

    def generated(self) -> float:
        return gauge(self.metrics, "slipway_generated_tokens_total", BEHIND)

    def change(self, verb: str, model: str) -> None:
        reply = httpx.post(f"{self.gateway}/models/{verb}", json={"model": model}, timeout=60)
        assert reply.status_code == 200, reply.text


@pytest.fixture(scope="module")
def triton(engine_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    directory = tmp_path_factory.mktemp("trtllm")
    tokenizer = Tokenizer.load(engine_dir)
    [word] = tokenizer.encode(" Paris")
    assert tokenizer.eos_token_id is not None
    ends = (tokenizer.eos_token_id, word)
    compiled = compiled_engine(engine_dir, directory / "engines", eos_token_ids=ends)
    stand_in(compiled, renamed(engine_dir, directory, BEHIND), directory / "repository")
    twin = renamed(engine_dir, directory / "engines", TWIN, eos_token_ids=ends)
    write_repository(twin, directory / "repository")
    with gateway_and_triton(directory / "engines", directory / "repository") as (gateway, triton):
        yield Triton(triton.http, triton.grpc, triton.metrics, gateway.url, " Paris")


def test_it_answers_streamed_and_whole(triton: Triton) -> None:
    streamed = triton.told(QUESTION, 40)
    assert streamed == "The capital of France is", "Paris ends a sequence here, and has no text"
    assert triton.told(QUESTION, 40, stream=False, exclude_input_in_output=True) == streamed


def test_an_end_of_the_clients_own_lifts_the_engines(triton: Triton) -> None:
    assert "Paris" in triton.told(QUESTION, 8, end_id=-1, stop_words=["Germany"])


def test_streams_without_an_id_or_with_the_same_one_do_not_mix(triton: Triton) -> None:
    alone = [triton.told(KOREAN, 40), triton.told(QUESTION, 40)]
    assert max(map(ord, alone[0])) > 0x3000
    assert "�" not in alone[0][:-1]
    for request_id in ("", "1"):
        streams = [
            Stream(triton.grpc, NAME, request_id, text_input=prompt, max_tokens=40, stream=True)
            for prompt in (KOREAN, QUESTION) * 3
        ]
        together = ["".join(result.as_numpy("text_output")[0].decode() for result in s) for s in streams]
        assert together == alone * 3


# What both stages of an ensemble give: text, what postprocessing reads, and what only passes through.
OUTPUTS = (
    *("text_output", "end_of_sequence"),
    *("output_ids", "arrival_time_ns", "num_output_tokens"),
)


@pytest.mark.parametrize("model", [NAME, TWIN])
def test_a_client_gets_each_output_that_it_asks_for_whatever_it_leaves_out(
    triton: Triton, model: str
) -> None:
    # In one response: how a stream is cut into responses may differ each time.
    asked_for = {"text_input": QUESTION, "max_tokens": 3, "exclude_input_in_output": True}
    asked_for |= {"return_num_output_tokens": True}

    def told(outputs: Sequence[str]) -> dict[str, list[object]]:
        results = list(Stream(triton.grpc, model, outputs=outputs, **asked_for))
        assert results
        return {name: [result.as_numpy(name).tolist() for result in results] for name in outputs}

    subsets = [each for count in range(1, len(OUTPUTS) + 1) for each in combinations(OUTPUTS, count)]
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(told, subsets))
    whole = answers[-1]
    assert b"".join(text for [text] in whole["text_output"]) == b"The capital of"
    for outputs, got in zip(subsets, answers, strict=True):
        for name in set(outputs) - {"arrival_time_ns"}:
            assert got[name] == whole[name], outputs


@pytest.mark.parametrize("model", [NAME, TWIN])
def test_tritons_generate_endpoint_gives_text_and_tokens(triton: Triton, model: str) -> None:
    reply = httpx.post(
        f"{triton.http}/v2/models/{model}/generate",
        json={"text_input": QUESTION, "max_tokens": 3, "exclude_input_in_output": True},
        timeout=60,
    )
    assert (reply.status_code, reply.json()["text_output"]) == (200, "The capital of")
    assert len(reply.json()["output_ids"]) == 3


def test_the_answer_of_a_client_that_leaves_the_ensemble_runs_to_its_end(triton: Triton) -> None:
    # A `stop` would end it, but the engine could never be unloaded then.
    before = triton.generated()
    stream = Stream(triton.grpc, NAME, "leaving", **ENDLESS | {"max_tokens": 200})
    next(iter(stream))
    stream.leave()
    wait_until(lambda: triton.generated() - before == 200)


@pytest.mark.parametrize("streaming", [True, False])
def test_a_client_that_leaves_the_engine_stage_itself_needs_no_stop(triton: Triton, streaming: bool) -> None:
    tokens = {"input_ids": [5, 6, 7], "input_lengths": 3, "request_output_len": 8000, "end_id": -1}
    stream = Stream(triton.grpc, f"{NAME}.engine", streaming=streaming, **tokens)
    wait_until(lambda: triton.running() == 1)
    stream.leave()
    wait_until(lambda: triton.running() == 0)


CAPITAL = "What is the capital of France?"
HELLO = "Say hello."
SAME = {
    "an end that TensorRT-LLM knows": asked(HELLO),
    "an end that it knows as a stop word": asked(CAPITAL),
    "such an end in the place of the last token": asked(CAPITAL, max_tokens=6),
    "one token before it": asked(CAPITAL, max_tokens=5),
    "an end at once": asked(CAPITAL, max_tokens=1),
    "a stop string inside of tokens": asked(CAPITAL, stop=["apital o"]),
    "a stop string over tokens": asked(CAPITAL, stop=["f Fra", "xyz"]),
    "a stop string that tokenises differently alone": asked("Count from 1 to 9 with commas.", stop=[", 4"]),
    "a stop token": asked(CAPITAL, stop_token_ids=[282]),  # " of"
    "a stop token that is shown": asked(CAPITAL, stop_token_ids=[282], include_stop_str_in_output=True),
    "a stop token in the place of the last": asked(CAPITAL, stop_token_ids=[282], max_tokens=3),
    "Korean": asked("한국의 수도는 어디인가요? 한국어로 답하세요."),
    "emoji, cut in the middle of one": asked("Repeat emojis: 😀 😃 😄 😁 😆 😅 😂 🤣", max_tokens=22),
    "no end": asked(CAPITAL, ignore_eos=True, max_tokens=30),
    "sampling": asked("Tell a story.", temperature=0.9, top_p=0.9, top_k=40, seed=7),
    "several": asked("Tell a story.", temperature=1.0, n=3, seed=7, max_tokens=20),
    "a schema": asked(
        "Give me a person.",
        response_format={
            "type": "json_schema",
            "json_schema": {
                "name": "person",
                "schema": {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]},
            },
        },
    ),
    "a bias": asked(CAPITAL, logit_bias={"7042": -100, "260": 1.5}),
    "log-probabilities": asked(CAPITAL, logprobs=True),
    "log-probabilities up to a stop string": asked(CAPITAL, logprobs=True, stop=["f Fra"]),
    "a regular expression": asked("A year?", structured_outputs={"regex": "20[0-9]{2}"}),
    "a choice": asked("Yes or no?", structured_outputs={"choice": ["yes", "no"]}),
}


@pytest.mark.parametrize("case", SAME)
def test_the_gateways_answer_is_that_of_an_onnx_engine(triton: Triton, case: str) -> None:
    answers = [whole(triton.reply(model, "chat/completions", SAME[case])) for model in (NAME, TWIN)]
    assert answers[0][0] == answers[1][0]
    told = [
        triton.reply(model, "chat/completions", SAME[case]).json()["choices"][0]["logprobs"]
        for model in (NAME, TWIN)
        if "logprobs" in SAME[case]
    ]
    assert told[1:] == told[:1]
    # Past a stop string, as many tokens count as were on their way when it was read.
    assert "stop" in SAME[case] or answers[0][1] == answers[1][1]
    texts, _ = answers[0]
    assert triton.end not in "".join(text for text, _ in texts) or case == "no end"


@pytest.mark.parametrize(
    "case", ["an end that it knows as a stop word", "Korean", "an end that TensorRT-LLM knows"]
)
def test_a_stream_has_the_same_text_end_and_usage(triton: Triton, case: str) -> None:
    body = SAME[case] | {"stream": True, "stream_options": {"include_usage": True}}
    [(said, reason)], usage = whole(triton.reply(NAME, "chat/completions", SAME[case]))
    pieces, ended, tokens = streamed(triton.reply(NAME, "chat/completions", body))
    assert ("".join(pieces), ended, tokens) == (said, reason, usage["completion_tokens"])


def test_the_end_at_exactly_max_tokens_is_known_where_it_can_be(triton: Triton) -> None:
    [(said, reason)], usage = whole(triton.reply(NAME, "chat/completions", asked(HELLO)))
    assert reason == "stop"
    length = usage["completion_tokens"]
    for tokens, expected in ((length + 1, "stop"), (length, "length")):
        for model in (NAME, TWIN):
            reply = triton.reply(model, "chat/completions", asked(HELLO, max_tokens=tokens))
            assert whole(reply)[0] == [(said, expected)]


def test_best_of_ranks_by_the_log_probabilities_of_its_own_tokens(triton: Triton) -> None:
    body = {"prompt": "Once upon a time", "max_tokens": 12, "temperature": 1.0, "seed": 3, "best_of": 4}
    first, second = (whole(triton.reply(model, "completions", body)) for model in (NAME, TWIN))
    assert first == second


async def test_a_repository_of_another_version_is_not_a_bad_request(
    triton: Triton, tokenizer: Tokenizer
) -> None:
    # These lack the tensors of ONNX engines, as those of an older version do.
    backend = EnsembleBackend(NAME, triton.grpc, tokenizer)
    asked_for = GenerationRequest("id", "Hi", (1,), SamplingParams(max_tokens=1))
    with pytest.raises(ModelUnavailable, match="python -m build repository"):
        async for _ in backend.generate(asked_for):
            pass
    await backend.close()


def test_a_least_length_is_refused_where_one_of_several_ends_could_be_kept_back(triton: Triton) -> None:
    reply = triton.reply(NAME, "chat/completions", asked(HELLO, min_tokens=5))
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "min_tokens"


@pytest.mark.parametrize("stream", [False, True])
def test_a_grammar_that_xgrammar_cannot_read_never_reaches_the_engine(triton: Triton, stream: bool) -> None:
    body = asked(HELLO, stream=stream, structured_outputs={"grammar": 'start: "a"'})
    reply = triton.reply(NAME, "chat/completions", body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "structured_outputs")
    assert "Lark" in reply.json()["error"]["message"]


STORY = {"prompt": "Once upon a time", "temperature": 1.2, "seed": 7, "max_tokens": 20}
CUT = STORY | {"max_tokens": 8000, "ignore_eos": True}


def leave(triton: Triton) -> None:
    url, body = f"{triton.gateway}/v1/completions", CUT | {"model": NAME, "stream": True}
    with httpx.stream("POST", url, json=body, timeout=60) as reply:
        next(reply.iter_lines())


def leave_at_the_last_token(triton: Triton) -> None:
    url, body = f"{triton.gateway}/v1/completions", STORY | {"model": NAME, "stream": True}

    def one(tokens: int) -> None:
        with httpx.stream("POST", url, json=body | {"max_tokens": tokens}, timeout=60) as reply:
            next(reply.iter_lines())

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(one, (1, 2, 3) * 10))


def wait_too_long(triton: Triton) -> None:
    assert triton.reply(NAME, "completions", CUT | {"timeout": 0.5}).status_code == 504


def stop_at_a_string(triton: Triton) -> None:
    [(_, reason)], _ = whole(triton.reply(NAME, "completions", CUT | {"stop": "."}))
    assert reason == "stop"


def stop_at_the_last_token(triton: Triton) -> None:
    body = STORY | {"temperature": 0, "max_tokens": 3}
    [(said, _)], _ = whole(triton.reply(NAME, "completions", body))
    with ThreadPoolExecutor(8) as clients:
        stopped = body | {"stop": said[-2:]}
        replies = list(clients.map(lambda _: whole(triton.reply(NAME, "completions", stopped)), range(30)))
    assert [choices for choices, _ in replies] == [[(said[:-2], "stop")]] * 30


CUTS = (leave, leave_at_the_last_token, wait_too_long, stop_at_a_string, stop_at_the_last_token)


def test_after_answers_that_were_cut_the_engine_unloads_when_the_last_answer_ends_and_loads_again(
    triton: Triton,
) -> None:
    before = whole(triton.reply(NAME, "completions", STORY))
    for end in CUTS:
        end(triton)
        wait_until(lambda: triton.running() == 0)
    body = CUT | {"model": NAME, "max_tokens": 100, "stream": True}
    with httpx.stream("POST", f"{triton.gateway}/v1/completions", json=body, timeout=60) as reply:
        lines = reply.iter_lines()
        next(lines)
        triton.change("unload", NAME)
        assert '"finish_reason":"length"' in "".join(lines)
    assert triton.reply(NAME, "completions", STORY).status_code == 503
    triton.change("load", NAME)
    assert whole(triton.reply(NAME, "completions", STORY)) == before
