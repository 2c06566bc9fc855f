"""What an engine will take in memory, by formula; shown by `summary`."""

from typing import Literal

from build.checkpoint.architecture import Architecture
from build.onnx.builder import BLOCK_SIZE

Form = Literal["none", "int8", "int4"]
_BITS: dict[Form, int] = {"none": 16, "int8": 8, "int4": 4}
_SCALE_BYTES = 4


def weight_bytes(architecture: Architecture, form: Form) -> int:
    """Bytes of the weights.

    none: 2 for each (bf16). int8 and int4, as the onnx-cpu target lays them out: each number takes 8 or 4
    bits, but 8 with either in the down projections and the lm_head, and with int4 in the outer layers too.
    Each block of 32 has a 4-byte scale more; with int8 only those of the down projections and the lm_head
    (one scale per output elsewhere). The embedding table stays fp32, but with int4 a tied one is the
    quantised lm_head itself. Norms, biases and the scales per output are left out (less than 1 %).
    """
    if form == "none":
        stored = architecture.projection_weights
        return 2 * (stored if architecture.tied else stored + architecture.embedding_weights)
    kept = architecture.layers * architecture.hidden_size * architecture.intermediate_size
    kept += architecture.embedding_weights
    in_blocks = kept
    if form == "int4":
        in_blocks = architecture.projection_weights
        kept += (in_blocks - kept) * 2 * architecture.outer_layers // architecture.layers
    quantised = kept + (architecture.projection_weights - kept) * _BITS[form] // 8
    scales = in_blocks // BLOCK_SIZE * _SCALE_BYTES
    shared = architecture.tied and form == "int4"
    return quantised + scales + (0 if shared else 4 * architecture.embedding_weights)


def kv_bytes_per_token(architecture: Architecture, item_size: int) -> int:
    """Bytes of KV cache that one token of one sequence takes: a key and a value per layer and KV head.

    item_size: 4 for fp32 (onnx-cpu), 2 for fp16.
    """
    return 2 * architecture.layers * architecture.kv_heads * architecture.head_dim * item_size
