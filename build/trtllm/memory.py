"""The memory that a TensorRT-LLM engine takes on a GPU, by formula.

All figures are bytes of the fullest rank. Weights and KV cache follow from the format. The others are
estimates, because TensorRT decides when it builds ("there is no general formula", NVIDIA in issue 210 of
NVIDIA/TensorRT-LLM). The estimates are at or above the figures of public logs:

- docs/source/reference/memory.md of TensorRT-LLM: Llama 2 7B in fp8, 80 GB GPU.
- issue 1188: Qwen2.5-Coder 0.5B in int8, RTX A4000, with 2048 sequences and with one.
- issue 3636: Llama 3.1 8B in float16, max_num_tokens 128,000.
"""

from build.checkpoint.architecture import Architecture
from build.trtllm.parallel import layers_of
from build.trtllm.rank_tensors import GROUP_SIZE
from slipway.contract.quantization import CacheQuantization, Quantization
from slipway.contract.recipe import Parallel

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
# Head sizes with attention kernels (MMHA_SUPPORTED_HEAD_SIZES in
# cpp/tensorrt_llm/kernels/decoderMaskedMultiheadAttention.cu); with another one the build fails.
HEAD_SIZES = (32, 48, 64, 80, 96, 104, 112, 128, 144, 160, 192, 224, 256)
# Outputs and inputs of every matrix of a rank must be multiples of these: the tiles of the weight-only
# kernels (cpp/tensorrt_llm/kernels/cutlass_kernels/cutlass_preprocessors.cpp), and the group of int4-awq.
TILES: dict[Quantization, tuple[int, int]] = {
    "int8": (64, 64),
    "int4": (64, 64),
    "int4-awq": (64, GROUP_SIZE),
}


def weight_bytes(model: Architecture, quantization: Quantization, parallel: Parallel) -> int:
    """Bytes of the weights.

    Quantized: the matrices of the layers. In 16 bits: embedding, lm_head (its rows padded to a multiple of
    the ranks), norms and biases (exclude_modules in tensorrt_llm/models/modeling_utils.py; ModelOpt's
    exporter does the same). A tied lm_head is stored once, without the GEMM plugin. Scales: 2 bytes per
    output for int8 and int4; 4 bytes per output and 2 per input for int8-sq; 2 bytes per 128 inputs and 2 per
    input for int4-awq. Cosines and sines of all positions take 4 bytes each
    (embed_positions_for_gpt_attention in tensorrt_llm/layers/attention.py): 64 MiB for a context of 131,072
    tokens, as in the log of issue 3636.
    """
    tensor = parallel.tensor
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
    tables = table if model.tied or parallel.pipeline > 1 else 2 * table
    positions = model.context * model.head_dim * 4
    return len(layers_of(parallel, model, 0)) * layer + tables + model.hidden_size * _ITEM + positions


def kv_bytes_per_token(model: Architecture, cache: CacheQuantization, parallel: Parallel) -> int:
    """Bytes of KV cache for one token of one sequence.

    2 (key and value) x layers x KV heads of the rank x head_dim x bytes of a number. With more ranks than KV
    heads, each rank has one head, so some are stored several times (tensorrt_llm/layers/attention.py).
    """
    heads = -(-model.kv_heads // parallel.tensor)
    return 2 * len(layers_of(parallel, model, 0)) * heads * model.head_dim * _CACHE_BYTES[cache]


def activation_bytes(model: Architecture, max_num_tokens: int, parallel: Parallel) -> int:
    """Bytes of the activations (an estimate): TensorRT's execution context, which all layers share.

    memory.md: "close to max number of input tokens * some constant factor". The factor here is three times
    the widest point of a layer, in the MLP: residual and its norm [tokens, hidden], gate, up and their
    product [tokens, intermediate / tensor]; plus the queries that fused context attention keeps [tokens,
    heads of the rank * head_dim] (AttentionOp::getWorkspaceSizeForContext in
    cpp/tensorrt_llm/common/attentionOp.cpp). Public logs show 99 % and 98 % of this in issues 1188 and 3636,
    and 57 % in memory.md if its engine has the default of 8192 tokens.
    """
    widest = 2 * model.hidden_size + 3 * model.intermediate_size // parallel.tensor
    queries = model.heads // parallel.tensor * model.head_dim
    return (3 * widest + queries) * _ITEM * max_num_tokens


def buffer_bytes(model: Architecture, max_batch_size: int, max_seq_len: int) -> int:
    """Bytes of the runtime's and the decoder's buffers (an estimate).

    "Allocated based on runtime max_batch_size and max_seq_len" (memory.md). For each sequence the runtime has
    a row of logits and six numbers per position, the decoder six rows of logits, 4 bytes a number. Issue 1188
    shows 88 % of that, for 2048 sequences of 32,768 tokens and a vocabulary of 151,936.
    """
    return max_batch_size * 4 * (7 * model.vocab_size + 6 * max_seq_len)


def communication_bytes(parallel: Parallel) -> int:
    """Bytes of the all-reduce workspace of a tensor parallel rank.

    Five buffers, each with a part for every rank (CustomAllReduceHelper.allocate_workspace and
    max_workspace_size_auto in tensorrt_llm/plugin/plugin.py).
    """
    if parallel.tensor == 1:
        return 0
    return 5 * parallel.tensor * (16_000_000 if parallel.tensor == 2 else 8_000_000)


def context_bytes(gpu_memory: int) -> int:
    """Bytes of the CUDA context and the libraries' own memory (an estimate).

    The logs leave 775 MiB unexplained on the 80 GB GPU of memory.md and 250 MiB on the 16 GB GPU of issue
    1188. It grows with the multiprocessors; between these two it is interpolated by memory.
    """
    small, large = (16 << 30, 250 * MIB), (80 << 30, 775 * MIB)
    share = (gpu_memory - small[0]) / (large[0] - small[0])
    return int(small[1] + min(max(share, 0), 1) * (large[1] - small[1]))


# Bytes that each engine may take from its KV cache on each GPU, to move caches between machines: TensorRT-LLM
# 1.2.1 reserves 1 to 1.5 GiB (CacheTransceiver). Slipway starts Triton with
# TRTLLM_KVCACHE_TRANSFER_BUFFER_SIZE=0B, which avoids it; it counts until a GPU has shown that.
TRANSFER_BYTES = 1 << 30


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
