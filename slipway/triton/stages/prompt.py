"""A request to preprocessing: its text as the tensors of the engine stage."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from slipway.contract.engine_tensors import dense_bias, pack_words
from slipway.contract.errors import InvalidRequest
from slipway.contract.manifest import Manifest
from slipway.text.length import has_more
from slipway.text.tokenizer import Tokenizer
from slipway.triton.stages.request import Array, decoded

# Inputs with the ensemble's name and the value that asks for nothing. NVIDIA's engine model does not refuse
# them: the tokens of several sequences would become one text, and the engines here give no logits.
_REFUSED = (
    ("DECODER_QUERY", "decoder_text_input", b""),
    ("NUM_RETURN_SEQUENCES", "num_return_sequences", 1),
    ("RETURN_GENERATION_LOGITS", "return_generation_logits", False),
)


def prepare(tensors: Mapping[str, Array], tokenizer: Tokenizer, manifest: Manifest) -> dict[str, Array]:
    """The outputs of preprocessing for its inputs, each with a batch dimension of one.

    Without END_ID, the first end-of-sequence id of the engine is passed on. Our engine stage then ends at any
    of the engine's ids. NVIDIA's model takes one, so there the others become stop words. Raises
    InvalidRequest that names the tensor as a client of the ensemble knows it.
    """
    for name, client, neutral in _REFUSED:
        if any(value != neutral for value in _values(tensors, name)):
            raise InvalidRequest(f"{client} is given, which this engine cannot do; leave it out.", client)
    ids = _prompt_ids(tensors, tokenizer, manifest)
    stop_words = _word_ids(tensors, "STOP_WORDS_DICT", "stop_words", tokenizer)
    stop_words += [[token] for token in _token_ids(tensors, "STOP_TOKEN_IDS", "stop_token_ids", manifest)]
    if manifest.target.compiled:
        stop_words += _other_ends(tensors, manifest)
    outputs = {
        "INPUT_ID": np.array([ids], np.int32),
        "REQUEST_INPUT_LEN": np.array([[len(ids)]], np.int32),
        "REQUEST_OUTPUT_LEN": tensors["REQUEST_OUTPUT_LEN"],
        "BAD_WORDS_IDS": pack_words(_word_ids(tensors, "BAD_WORDS_DICT", "bad_words", tokenizer)),
        "STOP_WORDS_IDS": pack_words(stop_words),
    }
    if "END_ID" in tensors:
        outputs["OUT_END_ID"] = tensors["END_ID"]
    elif manifest.eos_token_ids:
        outputs["OUT_END_ID"] = np.array([manifest.eos_token_ids[:1]], np.int32)
    bias = _bias(tensors, tokenizer, manifest)
    if bias:
        outputs["EMBEDDING_BIAS"] = dense_bias(bias, manifest.vocab_size)
    if "PAD_ID" in tensors:
        outputs["OUT_PAD_ID"] = tensors["PAD_ID"]
    # Always: postprocessing needs the arrival time to know the stream.
    outputs["RETURN_PERF_METRICS"] = np.array([[True]])
    return outputs


def _prompt_ids(tensors: Mapping[str, Array], tokenizer: Tokenizer, manifest: Manifest) -> list[int]:
    if tensors["QUERY"].shape != (1, 1):
        raise InvalidRequest(
            f"text_input has the shape {list(tensors['QUERY'].shape)}; send one prompt per request, [1, 1] "
            "(requests run in one batch anyway).",
            "text_input",
        )
    text = decoded(tensors["QUERY"].item(), "text_input")
    given: list[int] = _values(tensors, "PROMPT_TOKEN_IDS")
    if given and text:
        raise InvalidRequest(
            "text_input and prompt_token_ids both give a prompt; leave text_input empty.",
            "prompt_token_ids",
        )
    _check_vocabulary(given, "prompt_token_ids", manifest)
    if has_more(text, manifest.limits.max_input_len, tokenizer.encode):
        raise InvalidRequest(
            f"text_input has more than {manifest.limits.max_input_len} tokens, the most that engine "
            f"{manifest.name} takes; shorten it.",
            "text_input",
        )
    ids = given or tokenizer.encode(text)
    if not ids:
        raise InvalidRequest("text_input is empty; send at least one token.", "text_input")
    return ids


def _bias(
    tensors: Mapping[str, Array], tokenizer: Tokenizer, manifest: Manifest
) -> list[tuple[Sequence[int], float]]:
    """Token ids, and what to add to their logits. As upstream, each token of a word gets its weight."""
    words_, weights = _values(tensors, "EMBEDDING_BIAS_WORDS"), _values(tensors, "EMBEDDING_BIAS_WEIGHTS")
    _check_pairs("embedding_bias_words", len(words_), "embedding_bias_weights", len(weights))
    ids = _token_ids(tensors, "LOGIT_BIAS_IDS", "logit_bias_ids", manifest)
    values = _values(tensors, "LOGIT_BIAS_VALUES")
    _check_pairs("logit_bias_ids", len(ids), "logit_bias_values", len(values))
    of_words = _word_ids(tensors, "EMBEDDING_BIAS_WORDS", "embedding_bias_words", tokenizer)
    return [*zip(of_words, weights, strict=True), *zip([[token] for token in ids], values, strict=True)]


def _check_vocabulary(ids: Sequence[int], name: str, manifest: Manifest) -> None:
    for token in ids:
        if not 0 <= token < manifest.vocab_size:
            raise InvalidRequest(
                f"{name} names token id {token}, but the vocabulary of engine {manifest.name} ends at "
                f"{manifest.vocab_size - 1}.",
                name,
            )


def _check_pairs(names: str, count: int, values: str, others: int) -> None:
    if count != others:
        raise InvalidRequest(f"{names} has {count} entries and {values} {others}; send one for each.", values)


def _values(tensors: Mapping[str, Array], name: str) -> list[Any]:
    return tensors[name].ravel().tolist() if name in tensors else []


def _token_ids(tensors: Mapping[str, Array], name: str, client: str, manifest: Manifest) -> list[int]:
    ids: list[int] = _values(tensors, name)
    _check_vocabulary(ids, client, manifest)
    return ids


def _other_ends(tensors: Mapping[str, Array], manifest: Manifest) -> list[list[int]]:
    """The engine's end-of-sequence ids other than END_ID; none where END_ID is not one of them."""
    ends = manifest.eos_token_ids
    given = int(tensors["END_ID"].item()) if "END_ID" in tensors else next(iter(ends), None)
    return [[end] for end in ends if end != given] if given in ends else []


def _word_ids(tensors: Mapping[str, Array], name: str, client: str, tokenizer: Tokenizer) -> list[list[int]]:
    return [tokenizer.encode_inside(decoded(word, client)) for word in _values(tensors, name)]
