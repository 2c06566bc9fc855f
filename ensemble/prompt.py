"""What a request asks of preprocessing: text to the tensors of the engine stage; called by that stage."""

from collections.abc import Mapping

import numpy as np

from engines.errors import InvalidRequest
from engines.manifest import Manifest
from ensemble import words
from ensemble.request import Array
from text.tokenizer import Tokenizer

# Preprocessing's inputs that nothing here can act on, by what a client of the ensemble calls them.
_REFUSED = {
    "DECODER_QUERY": "decoder_text_input",
    "EMBEDDING_BIAS_WORDS": "embedding_bias_words",
    "EMBEDDING_BIAS_WEIGHTS": "embedding_bias_weights",
}


def prepare(tensors: Mapping[str, Array], tokenizer: Tokenizer, manifest: Manifest) -> dict[str, Array]:
    """Tensors of preprocessing's inputs to those of its outputs, each with its batch dimension of one.

    Without END_ID the engine's first own end-of-sequence id is given. Our engine stage then ends at any of
    its own; NVIDIA's knows one, so there the others become stop words. Raises InvalidRequest that names the
    tensor as a client of the ensemble knows it.
    """
    for name, client in _REFUSED.items():
        if any(tensors.get(name, np.array([])).ravel().tolist()):
            raise InvalidRequest(f"{client} is given, which this engine cannot do; leave it out.", client)
    if tensors["QUERY"].shape != (1, 1):
        raise InvalidRequest(
            f"text_input has the shape {list(tensors['QUERY'].shape)}; send one prompt per request, [1, 1] "
            "(requests run in one batch anyway).",
            "text_input",
        )
    ids = tokenizer.encode(_text(tensors["QUERY"].item(), "text_input"))
    if not ids:
        raise InvalidRequest("text_input is empty; send at least one token.", "text_input")
    stop_words = _word_ids(tensors, "STOP_WORDS_DICT", "stop_words", tokenizer)
    if manifest.target == "tensorrt-llm":
        stop_words += _other_ends(tensors, manifest)
    outputs = {
        "INPUT_ID": np.array([ids], np.int32),
        "REQUEST_INPUT_LEN": np.array([[len(ids)]], np.int32),
        "REQUEST_OUTPUT_LEN": tensors["REQUEST_OUTPUT_LEN"],
        "BAD_WORDS_IDS": words.pack(_word_ids(tensors, "BAD_WORDS_DICT", "bad_words", tokenizer)),
        "STOP_WORDS_IDS": words.pack(stop_words),
    }
    if "END_ID" in tensors:
        outputs["OUT_END_ID"] = tensors["END_ID"]
    elif manifest.eos_token_ids:
        outputs["OUT_END_ID"] = np.array([manifest.eos_token_ids[:1]], np.int32)
    if "PAD_ID" in tensors:
        outputs["OUT_PAD_ID"] = tensors["PAD_ID"]
    # Asked for or not: postprocessing tells streams apart by them.
    outputs["RETURN_PERF_METRICS"] = np.array([[True]])
    return outputs


def _other_ends(tensors: Mapping[str, Array], manifest: Manifest) -> list[list[int]]:
    """The engine's own end-of-sequence ids beside the one in END_ID; none where that is not its own."""
    ends = manifest.eos_token_ids
    given = int(tensors["END_ID"].item()) if "END_ID" in tensors else next(iter(ends), None)
    return [[end] for end in ends if end != given] if given in ends else []


def _word_ids(tensors: Mapping[str, Array], name: str, client: str, tokenizer: Tokenizer) -> list[list[int]]:
    # Words stand inside an answer, so nothing that opens a text (BOS) belongs to them.
    given = tensors[name].ravel().tolist() if name in tensors else []
    return [tokenizer.encoder.encode(_text(word, client), add_special_tokens=False).ids for word in given]


def _text(value: bytes, client: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{client} is not UTF-8 at byte {error.start}; send text.", client) from None
