import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from support.ensemble import ENDLESS, Triton, serving
from support.triton_calls import Stream, ask, chat
from support.waiting import wait_until
from tritonclient.utils import InferenceServerException

from slipway.text.tokenizer import Tokenizer
from slipway.triton.repository import write_repository

QUESTION = chat("What is the capital of France?")


KOREAN = chat("한국의 수도는 어디인가요? 한국어로 답하세요.")


EMOJI = "Repeat emojis: 😀 😃 😄 😁 😆 😅 😂 🤣 😀 😃 😄 😁"


@pytest.fixture(scope="session")
def damaged_engine(engine_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("engines") / "damaged"
    shutil.copytree(engine_dir, directory)
    manifest = json.loads((directory / "engine.json").read_text())
    (directory / "engine.json").write_text(json.dumps(manifest | {"name": "damaged"}))
    os.truncate(directory / "model.onnx.data", 1000)
    return directory


@pytest.fixture(scope="session")
def triton(
    engine_dir: Path, damaged_engine: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Triton]:
    repository = tmp_path_factory.mktemp("repository")
    write_repository(engine_dir, repository)
    write_repository(damaged_engine, repository)
    with serving(engine_dir.name, repository) as triton:
        yield triton


@pytest.fixture(scope="session")
def tokenizer(engine_dir: Path) -> Tokenizer:
    return Tokenizer.load(engine_dir)


def test_a_stream_brings_the_answer_token_by_token(triton: Triton) -> None:
    pieces = ask(triton.grpc, triton.model, QUESTION, 40, stream=True)
    assert len(pieces) > 5
    assert "Paris" in "".join(pieces)


def test_a_whole_answer_begins_with_the_prompt_as_upstreams_does(
    triton: Triton, tokenizer: Tokenizer
) -> None:
    [whole] = ask(triton.grpc, triton.model, QUESTION, 40)
    [bare] = ask(triton.grpc, triton.model, QUESTION, 40, exclude_input_in_output=True)
    streamed = "".join(ask(triton.grpc, triton.model, QUESTION, 40, stream=True))
    assert bare == streamed
    assert whole == tokenizer.decode(tokenizer.encode(QUESTION)) + bare


def test_a_client_written_for_tensorrt_llm_gets_what_it_reads(triton: Triton) -> None:
    stream = Stream(
        triton.grpc,
        triton.model,
        text_input=QUESTION,
        max_tokens=6,
        stream=True,
        beam_width=1,
        temperature=1.0,
        repetition_penalty=1.0,
        presence_penalty=0.0,
        frequency_penalty=0.0,
        pad_id=2,
        end_id=2,
        stop_words=["Germany"],
        return_log_probs=True,
        return_num_input_tokens=True,
        return_num_output_tokens=True,
    )
    results = list(stream)
    text = "".join(result.as_numpy("text_output")[0].decode() for result in results)
    assert text == "The capital of France is Paris"
    log_probs = np.concatenate([result.as_numpy("output_log_probs")[0, 0] for result in results])
    assert log_probs.shape == (6,)
    assert (log_probs <= 0).all()
    assert results[-1].as_numpy("cum_log_probs")[0, 0] == pytest.approx(log_probs.sum(), rel=1e-4)
    assert sum(result.as_numpy("num_output_tokens")[0][0] for result in results) == 6
    assert results[0].as_numpy("num_input_tokens")[0][0] > 10
    assert results[0].as_numpy("context_logits") is None
    assert results[0].as_numpy("batch_index") is None


def test_a_stop_word_ends_the_answer_and_stays_in_it(triton: Triton) -> None:
    [answer] = ask(
        triton.grpc, triton.model, QUESTION, 40, stop_words=[" France", "x"], exclude_input_in_output=True
    )
    assert answer == "The capital of France"


def test_a_bad_word_is_not_in_the_answer(triton: Triton) -> None:
    [answer] = ask(
        triton.grpc, triton.model, QUESTION, 40, bad_words=[" Paris"], exclude_input_in_output=True
    )
    assert "capital of France" in answer
    assert " Paris" not in answer


def test_a_bias_moves_the_answer_by_ids_and_by_words(triton: Triton, tokenizer: Tokenizer) -> None:
    [paris] = tokenizer.encode(" Paris")
    told = {"text_input": QUESTION, "max_tokens": 6, "stream": True}
    for bias in (
        {"logit_bias_ids": [paris], "logit_bias_values": [-100.0]},
        {"embedding_bias_words": [" Paris"], "embedding_bias_weights": [-100.0]},
    ):
        results = list(Stream(triton.grpc, triton.model, **told, **bias))
        ids = [token for result in results for token in result.as_numpy("output_ids")[0, 0]]
        assert tokenizer.decode(ids[:5]) == "The capital of France is"
        assert paris not in ids


def test_what_upstream_does_not_report_has_outputs_of_its_own(triton: Triton, tokenizer: Tokenizer) -> None:
    prompt = chat("Answer as a teacher of history would at school: What is the capital of France?")
    ids = tokenizer.encode(prompt)
    asked = {"return_log_probs": True, "num_top_log_probs": 3, "stream": True, "max_tokens": 4}
    [whole] = ask(triton.grpc, triton.model, prompt, 4, exclude_input_in_output=True)
    results = list(Stream(triton.grpc, triton.model, text_input="", prompt_token_ids=ids, **asked))
    assert "".join(each.as_numpy("text_output")[0].decode() for each in results) == whole
    assert results[0].as_numpy("cached_tokens").item() == len(ids) - 2
    assert [each.as_numpy("finish_reason") for each in results[:-1]] == [None] * (len(results) - 1)
    assert results[-1].as_numpy("finish_reason").item() == b"length"
    chosen = np.concatenate([each.as_numpy("output_ids")[0, 0] for each in results])
    likeliest = np.concatenate([each.as_numpy("top_log_prob_ids")[0, 0] for each in results])
    log_probs = np.concatenate([each.as_numpy("top_log_probs")[0, 0] for each in results])
    assert likeliest.shape == log_probs.shape == (4, 3)
    assert (likeliest[:, 0] == chosen).all(), "greedy"
    assert (np.diff(log_probs, axis=1) <= 0).all()


def test_penalties_make_a_repeating_answer_go_elsewhere(triton: Triton) -> None:
    def told(**inputs: object) -> str:
        return "".join(ask(triton.grpc, triton.model, "la la la la la la", 20, stream=True, **inputs))

    plain = told(repetition_penalty=1.0, presence_penalty=0.0, frequency_penalty=0.0)
    assert plain == told()
    for penalty in ({"repetition_penalty": 1.8}, {"presence_penalty": 2.0}, {"frequency_penalty": 2.0}):
        assert told(**penalty) != plain


def test_no_end_and_no_stop_word_ends_an_answer_before_its_least_length(
    triton: Triton, tokenizer: Tokenizer
) -> None:
    answer = ask(triton.grpc, triton.model, QUESTION, 60, stream=True, min_tokens=50, stop_words=[" is"])
    assert len(tokenizer.encode("".join(answer))) > 40, "50 tokens; a few may read as fewer"


def test_the_engines_own_end_holds_unless_the_client_lifts_it(triton: Triton, tokenizer: Tokenizer) -> None:
    ended = "".join(ask(triton.grpc, triton.model, QUESTION, 100, stream=True))
    lifted = "".join(ask(triton.grpc, triton.model, QUESTION, 100, stream=True, end_id=-1))
    assert lifted.startswith(ended)
    assert len(tokenizer.encode(ended)) < 50
    assert len(tokenizer.encode(lifted)) > 80, "100 tokens; a few may read as fewer"


def test_the_same_seed_gives_the_same_answer_and_none_draws_one(triton: Triton) -> None:
    def story(**inputs: object) -> str:
        return "".join(ask(triton.grpc, triton.model, "Once", 20, stream=True, top_p=0.95, **inputs))

    assert story(seed=7) == story(seed=7)
    assert len({story() for _ in range(4)}) > 1


@pytest.mark.parametrize("prompt", [KOREAN, EMOJI])
def test_a_stream_joined_is_the_whole_answer_whatever_the_script(triton: Triton, prompt: str) -> None:
    streamed = ask(triton.grpc, triton.model, prompt, 60, stream=True)
    [whole] = ask(triton.grpc, triton.model, prompt, 60, exclude_input_in_output=True)
    assert "".join(streamed) == whole
    assert max(map(ord, whole)) > 0x3000
    # A character cut by max_tokens is all that may be broken, and it is the last.
    assert "�" not in whole[:-1]


def test_anonymous_streams_do_not_mix(triton: Triton) -> None:
    def told(prompt: str) -> str:
        return "".join(ask(triton.grpc, triton.model, prompt, 40, stream=True))

    alone = [told(KOREAN), told(EMOJI)]
    with ThreadPoolExecutor(8) as clients:
        together = list(clients.map(told, [KOREAN, EMOJI] * 4))
    assert together == alone * 4


def test_each_of_sixteen_at_once_gets_the_answer_it_gets_alone(triton: Triton) -> None:
    prompts = [chat(f"Name {count} things one can see in a harbour.") for count in range(1, 17)]

    def told(prompt: str) -> str:
        return "".join(ask(triton.grpc, triton.model, prompt, 12, stream=True))

    alone = [told(prompt) for prompt in prompts]
    with ThreadPoolExecutor(16) as clients:
        assert list(clients.map(told, prompts)) == alone


def test_a_stop_request_ends_the_stream_and_frees_its_row(triton: Triton) -> None:
    stream = Stream(triton.grpc, triton.model, "to be stopped", **ENDLESS)
    pieces = iter(stream)
    for _ in range(5):
        next(pieces)
    wait_until(lambda: triton.running() == 1)
    stop_it = {"input_lengths": 1, "request_output_len": 1, "stop": True}
    assert list(Stream(triton.grpc, f"{triton.model}.engine", "to be stopped", **stop_it)) == []
    assert len(list(pieces)) < ENDLESS["max_tokens"] / 4
    wait_until(lambda: triton.running() == 0)


def test_a_stop_request_for_an_unknown_id_does_nothing_and_one_without_an_id_is_refused(
    triton: Triton,
) -> None:
    stop_it = {"input_lengths": 1, "request_output_len": 1, "stop": True}
    assert list(Stream(triton.grpc, f"{triton.model}.engine", "unknown", **stop_it)) == []
    with pytest.raises(InferenceServerException, match="request id"):
        list(Stream(triton.grpc, f"{triton.model}.engine", "", **stop_it))


def test_a_client_that_leaves_the_ensemble_in_the_middle_of_a_stream_frees_its_row(triton: Triton) -> None:
    stream = Stream(triton.grpc, triton.model, **ENDLESS)
    next(iter(stream))
    wait_until(lambda: triton.running() == 1)
    stream.leave()
    wait_until(lambda: triton.running() == 0)


@pytest.mark.parametrize("streaming", [True, False])
def test_a_client_that_leaves_the_engine_stage_frees_its_row(triton: Triton, streaming: bool) -> None:
    stream = Stream(
        triton.grpc,
        f"{triton.model}.engine",
        input_ids=[5, 6, 7],
        input_lengths=3,
        request_output_len=8000,
        end_id=-1,
        streaming=streaming,
    )
    wait_until(lambda: triton.running() == 1)
    stream.leave()
    wait_until(lambda: triton.running() == 0)


def test_requests_past_the_slots_wait_and_are_counted(triton: Triton) -> None:
    streams = [Stream(triton.grpc, triton.model, str(row), **ENDLESS) for row in range(18)]
    wait_until(lambda: (triton.running(), triton.waiting()) == (16, 2))
    for stream in streams:
        stream.leave()
    wait_until(lambda: (triton.running(), triton.waiting()) == (0, 0))


@pytest.mark.parametrize(
    ("named", "inputs"),
    [
        ("beam_width", {"beam_width": 2}),
        ("repetition_penalty", {"repetition_penalty": 0.0}),
        ("min_tokens", {"min_tokens": 5}),
        ("embedding_bias_weights 1", {"embedding_bias_weights": [1.0]}),
        ("logit_bias_ids names token id 49152", {"logit_bias_ids": [49152], "logit_bias_values": [1.0]}),
        ("min_p", {"min_p": 1.5}),
        ("top_log_probs", {"num_top_log_probs": 21}),
        ("prompt_token_ids", {"prompt_token_ids": [1]}),
        ("lora_task_id", {"lora_task_id": 1}),
        ("guided_decoding_guide_type", {"guided_decoding_guide": "{}"}),
        ("unclosed group", {"guided_decoding_guide_type": "regex", "guided_decoding_guide": "(a"}),
        ("return_context_logits", {"return_context_logits": True}),
        ("decoder_text_input", {"decoder_text_input": "Paris"}),
        ("max_tokens", {"max_tokens": -1}),
        ("8192", {"max_tokens": 9000}),
        ("text_input", {"text_input": ""}),
        ("text_input", {"text_input": np.array([[b"\xff"]], dtype=object)}),
    ],
)
def test_what_cannot_be_done_is_refused_by_name_and_the_server_goes_on(
    triton: Triton, named: str, inputs: dict[str, object]
) -> None:
    with pytest.raises(InferenceServerException, match=named):
        list(Stream(triton.grpc, triton.model, **({"text_input": "hi", "max_tokens": 4} | inputs)))
    assert ask(triton.grpc, triton.model, "hi", 2)


def test_a_guide_shapes_the_answer_as_upstreams_clients_ask_for_it(triton: Triton) -> None:
    guides = {"regex": r"\d+", "ebnf_grammar": "root ::= [0-9]+", "json_schema": '{"type": "integer"}'}
    for kind, guide in guides.items():
        answer = ask(
            triton.grpc,
            triton.model,
            "What is the year after 2024? Answer:",
            12,
            stream=True,
            guided_decoding_guide_type=kind,
            guided_decoding_guide=guide,
        )
        assert "".join(answer).isdecimal(), kind


def test_tritons_generate_endpoint_answers_over_http(triton: Triton) -> None:
    url = f"{triton.http}/v2/models/{triton.model}/generate"
    body = {"text_input": QUESTION, "max_tokens": 20, "exclude_input_in_output": True}
    reply = httpx.post(url, json=body, timeout=60)
    assert reply.status_code == 200
    assert "Paris" in reply.json()["text_output"]


def test_a_damaged_engine_is_unavailable_with_its_sentence_and_the_others_are_served(
    triton: Triton,
) -> None:
    index = {model["name"]: model for model in httpx.post(f"{triton.http}/v2/repository/index").json()}
    assert index["damaged.engine"]["state"] == "UNAVAILABLE"
    assert "model.onnx.data is damaged: 1000 bytes" in index["damaged.engine"]["reason"]
    assert index["damaged"].get("state") != "READY"
    assert index[triton.model]["state"] == "READY"
    assert httpx.get(f"{triton.http}/v2/health/ready").status_code == 200
