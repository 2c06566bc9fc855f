"""Memory of an engine, by formula."""

from build.checkpoint.architecture import Architecture
from build.onnx.builder import BLOCK_SIZE
from slipway.contract.quantization import Quantization

_BITS: dict[Quantization, int] = {"none": 16, "int8": 8, "int4": 4}
_SCALE_BYTES = 4


def weight_bytes(architecture: Architecture, quantization: Quantization) -> int:
    """Bytes of the weights, without norms, biases and scales per output (less than 1 %).

    none: 2 bytes each (bf16). int8 and int4: the layout of onnx-cpu engines. A weight takes 8 or 4 bits; down
    projections and the lm_head take 8 in both, and so do the outer layers of int4. Each block of 32 has a
    4-byte scale, with int8 only in the down projections and the lm_head. The embedding is fp32; with int4 a
    tied embedding is the quantized lm_head itself.
    """
    if quantization == "none":
        stored = architecture.projection_weights
        return 2 * (stored if architecture.tied else stored + architecture.embedding_weights)
    in_8_bits = architecture.layers * architecture.hidden_size * architecture.intermediate_size
    in_8_bits += architecture.embedding_weights
    in_blocks = in_8_bits
    if quantization == "int4":
        in_blocks = architecture.projection_weights
        in_8_bits += (in_blocks - in_8_bits) * 2 * architecture.outer_layers // architecture.layers
    quantized = in_8_bits + (architecture.projection_weights - in_8_bits) * _BITS[quantization] // 8
    scales = in_blocks // BLOCK_SIZE * _SCALE_BYTES
    shared = architecture.tied and quantization == "int4"
    return quantized + scales + (0 if shared else 4 * architecture.embedding_weights)


def kv_bytes_per_token(architecture: Architecture, item_size: int) -> int:
    """Bytes of KV cache for one token of one sequence: a key and a value per layer and KV head.

    item_size: 4 for fp32 (onnx-cpu), 2 for fp16.
    """
    return 2 * architecture.layers * architecture.kv_heads * architecture.head_dim * item_size
