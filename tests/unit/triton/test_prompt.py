"""What preprocessing makes of a request."""

from typing import Any

import numpy as np
import pytest
from support import manifests

from slipway.contract.engine_tensors import unpack_words
from slipway.contract.errors import InvalidRequest
from slipway.contract.recipe import Limits
from slipway.contract.target import TARGETS
from slipway.text.tokenizer import Tokenizer
from slipway.triton.stages.prompt import prepare

LIMITS = Limits(max_batch_size=4, max_input_len=63, max_seq_len=64)


def prepared(tokenizer: Tokenizer, target: str, **inputs: Any) -> dict[str, Any]:
    engine = manifests.manifest(LIMITS, 1000)
    engine = engine.model_copy(update={"target": TARGETS[target], "eos_token_ids": (2, 7, 9)})
    tensors = {"QUERY": np.array([[b"hi"]], object), "REQUEST_OUTPUT_LEN": np.array([[4]], np.int32)}
    return prepare(tensors | inputs, tokenizer, engine)


@pytest.mark.parametrize(
    ("end_id", "stop_words"),
    [(None, ((7,), (9,))), (2, ((7,), (9,))), (9, ((2,), (7,))), (-1, ()), (5, ())],
)
def test_the_ends_that_tensorrt_llm_has_no_room_for_become_stop_words(
    tokenizer: Tokenizer, end_id: int | None, stop_words: tuple[tuple[int, ...], ...]
) -> None:
    inputs = {} if end_id is None else {"END_ID": np.array([[end_id]], np.int32)}
    compiled = prepared(tokenizer, "tensorrt-llm", **inputs)
    assert compiled["OUT_END_ID"].item() == (2 if end_id is None else end_id)
    assert unpack_words(compiled["STOP_WORDS_IDS"], "stop_words_list") == stop_words
    onnx = prepared(tokenizer, "onnx-cpu", **inputs)
    assert onnx["OUT_END_ID"] == compiled["OUT_END_ID"]
    assert unpack_words(onnx["STOP_WORDS_IDS"], "stop_words_list") == ()


def test_the_clients_stop_words_stay_beside_them(tokenizer: Tokenizer) -> None:
    made = prepared(tokenizer, "tensorrt-llm", STOP_WORDS_DICT=np.array([[b" the"]], object))
    [own, *ends] = unpack_words(made["STOP_WORDS_IDS"], "stop_words_list")
    assert tokenizer.decode(own) == " the"
    assert ends == [(7,), (9,)]


@pytest.mark.parametrize("word", ["\n", "\n\n", " Paris", "a Hi", "</s>", "😀"])
def test_a_stop_word_is_the_tokens_of_its_text_inside_an_answer(sentencepiece: Tokenizer, word: str) -> None:
    made = prepared(sentencepiece, "onnx-cpu", STOP_WORDS_DICT=np.array([[word.encode()]], object))
    [ids] = unpack_words(made["STOP_WORDS_IDS"], "stop_words_list")
    assert sentencepiece.vocabulary.join_with_special(ids).decode() == word


@pytest.mark.parametrize("target", ["onnx-cpu", "tensorrt-llm"])
def test_stop_tokens_become_stop_words(tokenizer: Tokenizer, target: str) -> None:
    made = prepared(tokenizer, target, STOP_TOKEN_IDS=np.array([[5, 6]], np.int32))
    assert unpack_words(made["STOP_WORDS_IDS"], "stop_words_list")[:2] == ((5,), (6,))
    with pytest.raises(InvalidRequest, match="stop_token_ids names token id 1000, but the vocabulary"):
        prepared(tokenizer, target, STOP_TOKEN_IDS=np.array([[5, 1000]], np.int32))


def test_metrics_are_asked_for_whatever_the_client_says(tokenizer: Tokenizer) -> None:
    asked_not = prepared(tokenizer, "onnx-cpu", RETURN_PERF_METRICS=np.array([[False]]))
    assert asked_not["RETURN_PERF_METRICS"].item() is True


def test_a_prompt_of_ids_is_taken_as_it_is(tokenizer: Tokenizer) -> None:
    empty = np.array([[b""]], object)
    ids = prepared(tokenizer, "tensorrt-llm", QUERY=empty, PROMPT_TOKEN_IDS=np.array([[5, 6, 7]], np.int32))
    assert ids["INPUT_ID"].tolist() == [[5, 6, 7]]
    assert ids["REQUEST_INPUT_LEN"].tolist() == [[3]]
    with pytest.raises(InvalidRequest, match="both give"):
        prepared(tokenizer, "onnx-cpu", PROMPT_TOKEN_IDS=np.array([[5]], np.int32))


def test_biases_of_ids_and_of_words_become_one_number_for_each_token(tokenizer: Tokenizer) -> None:
    [word] = tokenizer.encode(" a")
    bias = {
        "LOGIT_BIAS_IDS": np.array([[3, word]], np.int32),
        "LOGIT_BIAS_VALUES": np.array([[-1.5, 2]], np.float32),
        "EMBEDDING_BIAS_WORDS": np.array([[b" a"]], object),
        "EMBEDDING_BIAS_WEIGHTS": np.array([[0.5]], np.float32),
    }
    for target in ("onnx-cpu", "tensorrt-llm"):
        dense = prepared(tokenizer, target, **bias)["EMBEDDING_BIAS"]
        assert (dense.shape, dense.dtype) == ((1, 1000), np.float32)
        assert {int(token): dense[0, token] for token in np.flatnonzero(dense)} == {3: -1.5, word: 2.5}
    assert "EMBEDDING_BIAS" not in prepared(tokenizer, "onnx-cpu")


@pytest.mark.parametrize("target", ["onnx-cpu", "tensorrt-llm"])
@pytest.mark.parametrize(
    ("tensor", "value", "named"),
    [
        ("NUM_RETURN_SEQUENCES", np.array([[2]], np.int32), "num_return_sequences"),
        ("RETURN_GENERATION_LOGITS", np.array([[True]]), "return_generation_logits"),
        ("DECODER_QUERY", np.array([[b"Paris"]], object), "decoder_text_input"),
    ],
)
def test_what_no_engine_does_is_refused_before_the_engine(
    tokenizer: Tokenizer, target: str, tensor: str, value: Any, named: str
) -> None:
    with pytest.raises(InvalidRequest, match=f"{named} is given, which this engine cannot do; leave it out"):
        prepared(tokenizer, target, **{tensor: value})
    neutral = np.array([[1]], np.int32) if tensor == "NUM_RETURN_SEQUENCES" else np.zeros_like(value)
    if tensor != "DECODER_QUERY":
        assert prepared(tokenizer, target, **{tensor: neutral})


@pytest.mark.parametrize("token", [1000, -1])
def test_a_prompt_of_ids_that_are_no_tokens_is_refused(tokenizer: Tokenizer, token: int) -> None:
    given = {"QUERY": np.array([[b""]], object), "PROMPT_TOKEN_IDS": np.array([[5, token]], np.int32)}
    for target in ("onnx-cpu", "tensorrt-llm"):
        with pytest.raises(InvalidRequest, match=f"prompt_token_ids names token id {token}, .* ends at 999"):
            prepared(tokenizer, target, **given)


@pytest.mark.parametrize(("ids", "values"), [([1], [1.0, 2.0]), ([1000], [1.0]), ([-1], [1.0])])
def test_a_bias_of_no_token_is_refused(tokenizer: Tokenizer, ids: list[int], values: list[float]) -> None:
    with pytest.raises(InvalidRequest, match="logit_bias_"):
        prepared(
            tokenizer,
            "onnx-cpu",
            LOGIT_BIAS_IDS=np.array([ids], np.int32),
            LOGIT_BIAS_VALUES=np.array([values], np.float32),
        )


def test_a_text_that_is_far_too_long_is_refused_before_all_of_it_is_tokenized(tokenizer: Tokenizer) -> None:
    long = np.array([[b"<|im_end|>" * 1_000_000]], object)
    with pytest.raises(InvalidRequest, match="text_input has more than 63 tokens") as caught:
        prepared(tokenizer, "onnx-cpu", QUERY=long)
    assert caught.value.param == "text_input"
