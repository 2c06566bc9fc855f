"""What a TensorRT-LLM engine takes of a GPU's memory, by formula; read by `plan`.

Bytes are those of the fullest rank. Weights and KV cache follow from the format; the other figures are
estimates, because TensorRT decides them when it builds ("there is no general formula", NVIDIA in issue 210 of
NVIDIA/TensorRT-LLM). They are set so that they come out at or above what public logs show:

- docs/source/reference/memory.md of TensorRT-LLM: Llama 2 7B in fp8, 80 GB GPU.
- issue 1188: Qwen2.5-Coder 0.5B in int8, RTX A4000, with 2048 sequences and with one.
- issue 3636: Llama 3.1 8B in float16, max_num_tokens 128,000.
"""

from build.checkpoint.architecture import Architecture
from build.trtllm.mapping import Mapping
from build.trtllm.rank_tensors import GROUP_SIZE
from slipway.contract.quantization import CacheQuantization, Quantization

MIB = 1 << 20
TOKENS_PER_BLOCK = 32  # trtllm-build --tokens_per_block (tensorrt_llm/plugin/plugin.py)
_ITEM = 2  # bytes of bfloat16 and float16
_BITS: dict[Quantization, int] = {
    "none": 16,
    "int8": 8,
    "int4": 4,
    "int4-awq": 4,
    "int8-sq": 8,
    "fp8": 8,
}
_CACHE_BYTES: dict[CacheQuantization, int] = {"none": _ITEM, "int8": 1, "fp8": 1}
# Dimensions of a head that the attention of generation has kernels for (MMHA_SUPPORTED_HEAD_SIZES in
# cpp/tensorrt_llm/kernels/decoderMaskedMultiheadAttention.cu); the plugin refuses others at the build.
HEAD_SIZES = (32, 48, 64, 80, 96, 104, 112, 128, 144, 160, 192, 224, 256)
# What outputs and inputs of every matrix of a rank must be multiples of: the tiles of the weight-only kernels
# (cpp/tensorrt_llm/kernels/cutlass_kernels/cutlass_preprocessors.cpp), and the group of int4-awq.
TILES: dict[Quantization, tuple[int, int]] = {
    "int8": (64, 64),
    "int4": (64, 64),
    "int4-awq": (64, GROUP_SIZE),
}


def weight_bytes(model: Architecture, quantization: Quantization, mapping: Mapping) -> int:
    """Bytes of the weights.

    The matrices of the layers are quantised; embedding, lm_head (its rows padded to a multiple of the ranks),
    norms and biases stay in 16 bits (exclude_modules in tensorrt_llm/models/modeling_utils.py; ModelOpt's
    exporter leaves the same out). An lm_head that equals the embedding is held once, because our command
    leaves the GEMM plugin out for it (`trtllm_build`). Scales: one of 2 bytes per output for int8 and int4,
    of 4 bytes for int8-sq, one of 2 bytes per 128 inputs for int4-awq, whose inputs have one more each. And
    the cosines and sines of all positions (embed_positions_for_gpt_attention in tensorrt_llm/layers/
    attention.py), in 4 bytes: of a context of 131,072 tokens 64 MiB, which the log of issue 3636 shows.
    """
    tensor = mapping.tensor
    layer = 2 * model.hidden_size * _ITEM
    for outputs, inputs in matrices(model, tensor):
        layer += outputs * inputs * _BITS[quantization] // 8
        if quantization in ("int8", "int4"):
            layer += outputs * 2
        elif quantization == "int8-sq":
            layer += outputs * 4 + inputs * 2
        elif quantization == "int4-awq":
            layer += outputs * inputs // GROUP_SIZE * 2 + inputs * 2
    if model.qkv_bias:
        layer += _qkv_rows(model, tensor) * _ITEM
    if model.output_bias:
        layer += model.hidden_size * _ITEM
    if model.mlp_bias:
        layer += (2 * model.intermediate_size // tensor + model.hidden_size) * _ITEM
    table = -(-model.vocab_size // tensor) * model.hidden_size * _ITEM
    tables = table if model.tied or mapping.pipeline > 1 else 2 * table
    positions = model.context * model.head_dim * 4
    return len(mapping.layers(model, 0)) * layer + tables + model.hidden_size * _ITEM + positions


def kv_bytes_per_token(model: Architecture, cache: CacheQuantization, mapping: Mapping) -> int:
    """Bytes that one token of one sequence takes in the KV cache.

    2 (key and value) x layers x KV heads of the rank x head_dim x bytes of a number. With more ranks than KV
    heads each rank has one, so some are held more than once (tensorrt_llm/layers/attention.py).
    """
    heads = -(-model.kv_heads // mapping.tensor)
    return 2 * len(mapping.layers(model, 0)) * heads * model.head_dim * _CACHE_BYTES[cache]


def activation_bytes(model: Architecture, max_num_tokens: int, mapping: Mapping) -> int:
    """Bytes of the activations (an estimate): TensorRT's execution context, one block's for all layers.

    memory.md: "close to max number of input tokens * some constant factor". Here that is three times the
    widest moment of a block, the MLP's: residual and its norm [tokens, hidden], gate, up and their product
    [tokens, intermediate / tensor]; and the queries that fused context attention keeps [tokens, heads of the
    rank * head_dim] (AttentionOp::getWorkspaceSizeForContext in cpp/tensorrt_llm/common/attentionOp.cpp).
    Public logs: 99 % and 98 % of this in issues 1188 and 3636; 57 % in memory.md, if its engine has the
    default of 8192 tokens.
    """
    widest = 2 * model.hidden_size + 3 * model.intermediate_size // mapping.tensor
    queries = model.heads // mapping.tensor * model.head_dim
    return (3 * widest + queries) * _ITEM * max_num_tokens


def buffer_bytes(model: Architecture, max_batch_size: int, max_seq_len: int) -> int:
    """Bytes of the runtime's and the decoder's buffers (an estimate).

    "Allocated based on runtime max_batch_size and max_seq_len" (memory.md). For each sequence the runtime
    holds a row of logits and six numbers per position, the decoder six rows of logits, each number 4 bytes;
    issue 1188 shows 88 % of that for 2048 sequences of 32,768 tokens over a vocabulary of 151,936.
    """
    return max_batch_size * 4 * (7 * model.vocab_size + 6 * max_seq_len)


def communication_bytes(mapping: Mapping) -> int:
    """Bytes of the all-reduce workspace of a tensor parallel rank.

    Five buffers, each with a part for every rank (CustomAllReduceHelper.allocate_workspace and
    max_workspace_size_auto in tensorrt_llm/plugin/plugin.py).
    """
    if mapping.tensor == 1:
        return 0
    return 5 * mapping.tensor * (16_000_000 if mapping.tensor == 2 else 8_000_000)


def context_bytes(gpu_memory: int) -> int:
    """Bytes of the CUDA context and the libraries' own memory (an estimate).

    What is left of the logs when all that they name is subtracted: 775 MiB on the 80 GB GPU of memory.md and
    250 MiB on the 16 GB of issue 1188. It grows with the multiprocessors; so by memory in between.
    """
    small, large = (16 << 30, 250 * MIB), (80 << 30, 775 * MIB)
    share = (gpu_memory - small[0]) / (large[0] - small[0])
    return int(small[1] + min(max(share, 0), 1) * (large[1] - small[1]))


def _qkv_rows(model: Architecture, tensor: int) -> int:
    return (model.heads // tensor + 2 * -(-model.kv_heads // tensor)) * model.head_dim


def matrices(model: Architecture, tensor: int) -> list[tuple[int, int]]:
    """(outputs, inputs) of the matrices of a layer on one rank: qkv, dense, gate, up, down."""
    hidden, inner = model.hidden_size, model.intermediate_size // tensor
    return [
        (_qkv_rows(model, tensor), hidden),
        (hidden, model.heads // tensor * model.head_dim),
        (inner, hidden),
        (inner, hidden),
        (hidden, inner),
    ]
