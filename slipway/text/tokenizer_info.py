"""xgrammar's description of a tokenizer, in the file that TensorRT-LLM's C++ backend reads.

Upstream makes the file by a script that needs transformers (NVIDIA/TensorRT-LLM,
examples/generate_xgrammar_tokenizer_info.py and `_xgrammar_tokenizer_info` in tensorrt_llm/tokenizer).
"""

import json
from collections.abc import Sequence

from slipway.text.decoder import byte_letters
from slipway.text.tokenizer import Tokenizer

FILE_NAME = "xgrammar_tokenizer_info.json"


def tokenizer_info(tokenizer: Tokenizer, eos_token_ids: Sequence[int]) -> str:
    """The file's content.

    encoded_vocab: the tokens by id, spelled so that xgrammar reads the bytes that make the text of an answer.
        Upstream drops unused ids, which shifts the ids behind a gap; here they are empty, and xgrammar never
        allows an empty token. Special tokens are empty too, because they have no text.
    tokenizer_str: tokenizer.json, from which xgrammar takes how tokens spell bytes.
    stop_token_ids: what may follow a complete answer. Upstream writes the tokenizer's own only.
    """
    vocabulary = tokenizer.vocabulary
    spelled = [byte_letters(data) for data in vocabulary.token_bytes]
    if not vocabulary.byte_level:
        for token, index in tokenizer.encoder.get_vocab(with_added_tokens=True).items():
            spelled[index] = token if vocabulary.token_bytes[index] else ""
    return json.dumps(
        {
            "encoded_vocab": spelled,
            "tokenizer_str": tokenizer.encoder.to_str(),
            "stop_token_ids": list(eos_token_ids),
        }
    )
