"""The tensors of one rank of a TensorRT-LLM checkpoint, and the sources of their numbers.

Names and layout are those that TensorRT-LLM 1.2.1 loads (tensorrt_llm/models/llama, models/qwen,
layers/attention.py): q, k and v are one matrix, mlp.fc is transformers' gate_proj and mlp.gate its up_proj,
and layers count from 0 in every pipeline stage. Calibrated tensors have the names and layouts of NVIDIA's
exporter for one rank (modelopt/torch/export of 0.37.0), where q, k and v are one matrix already.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from build.checkpoint.architecture import EMBEDDING, LM_HEAD, Architecture
from build.trtllm.parallel import layers_of
from slipway.contract.quantization import CALIBRATED, CacheQuantization, Quantization
from slipway.contract.recipe import Parallel

# Inputs with one scale in int4-awq.
GROUP_SIZE = 128

# Matrices that trtllm-build quantizes for W8A16 and W4A16; the embedding and the lm_head stay as they are.
PROJECTIONS = ("attention.qkv", "attention.dense", "mlp.fc", "mlp.gate", "mlp.proj")


@dataclass(frozen=True, slots=True)
class Block:
    """Rows and columns of a tensor of the checkpoint or the calibration; None for a vector's columns."""

    source: str
    rows: range
    columns: range | None


@dataclass(frozen=True, slots=True)
class RankTensor:
    """One tensor: its blocks below each other, then zeros up to its shape.

    dtype: safetensors' name; None is the dtype of unquantized weights.
    """

    name: str
    shape: tuple[int, ...]
    blocks: tuple[Block, ...]
    dtype: str | None = None


def rank_tensors(
    model: Architecture,
    parallel: Parallel,
    rank: int,
    quantization: Quantization = "none",
    cache: CacheQuantization = "none",
) -> Iterator[RankTensor]:
    """All tensors of `rank`.

    The rows of embedding and lm_head are divided among the ranks too (`use_parallel_embedding`), and padded
    with zeros where the vocabulary does not divide. A tied lm_head is written like any other: trtllm-build
    finds that both are equal and keeps one.
    """
    stage, part = divmod(rank, parallel.tensor)
    hidden = range(model.hidden_size)
    if stage == 0:
        yield _vocabulary("transformer.vocab_embedding.weight", EMBEDDING, model, parallel, part)
    for index, layer in enumerate(layers_of(parallel, model, stage)):
        source, target = f"model.layers.{layer}.", f"transformer.layers.{index}."
        yield _vector(f"{target}input_layernorm.weight", f"{source}input_layernorm.weight", hidden)
        for share in (*_attention(model, parallel, part), *_mlp(model, parallel, part)):
            yield from _tensors(share, layer, target, quantization)
        yield _vector(f"{target}post_layernorm.weight", f"{source}post_attention_layernorm.weight", hidden)
        if cache != "none":
            # The loader takes the larger of k and v (preprocess_weights in models/modeling_utils.py); older
            # loaders know only kv.
            for kind in ("k", "v", "kv"):
                name = f"attention.{kind}_cache_scaling_factor"
                yield _scalar(f"{target}{name}", f"transformer.layers.{layer}.{name}")
    if stage == parallel.pipeline - 1:
        yield _vector("transformer.ln_f.weight", "model.norm.weight", hidden)
        lm_head = EMBEDDING if model.tied else LM_HEAD
        yield _vocabulary("lm_head.weight", lm_head, model, parallel, part)


@dataclass(frozen=True, slots=True)
class _Share:
    """The share of one rank in a projection.

    parts: rows of each matrix of the checkpoint. rows: the same rows in the one matrix of NVIDIA's exporter.
    """

    name: str
    parts: dict[str, range]
    rows: tuple[range, ...]
    columns: range
    bias: bool


def _attention(model: Architecture, parallel: Parallel, part: int) -> Iterator[_Share]:
    hidden, size = range(model.hidden_size), model.head_dim
    queries = _part_of(model.heads, parallel.tensor, part)
    if model.kv_heads >= parallel.tensor:
        keys = _part_of(model.kv_heads, parallel.tensor, part)
    else:  # neighbouring ranks, whose queries read the same head, have a copy each
        head = part * model.kv_heads // parallel.tensor
        keys = range(head, head + 1)
    query_rows = range(queries.start * size, queries.stop * size)
    key_rows = range(keys.start * size, keys.stop * size)
    parts = {"self_attn.q_proj": query_rows, "self_attn.k_proj": key_rows, "self_attn.v_proj": key_rows}
    key_start, value_start = model.heads * size, (model.heads + model.kv_heads) * size
    rows = (query_rows, _shifted(key_rows, key_start), _shifted(key_rows, value_start))
    yield _Share("attention.qkv", parts, rows, hidden, model.qkv_bias)
    parts = {"self_attn.o_proj": hidden}
    yield _Share("attention.dense", parts, (hidden,), query_rows, model.output_bias)


def _mlp(model: Architecture, parallel: Parallel, part: int) -> Iterator[_Share]:
    hidden, inner = range(model.hidden_size), _part_of(model.intermediate_size, parallel.tensor, part)
    for name, source, rows, columns in (
        ("mlp.fc", "mlp.gate_proj", inner, hidden),
        ("mlp.gate", "mlp.up_proj", inner, hidden),
        ("mlp.proj", "mlp.down_proj", hidden, inner),
    ):
        yield _Share(name, {source: rows}, (rows,), columns, model.mlp_bias)


def _tensors(share: _Share, layer: int, target: str, quantization: Quantization) -> Iterator[RankTensor]:
    """A matrix and its bias; with a matrix divided by columns, every rank has the whole bias."""
    count = sum(map(len, share.rows))
    name, source = f"{target}{share.name}", f"model.layers.{layer}."
    if quantization in CALIBRATED:
        yield from _calibrated(share, count, name, f"transformer.layers.{layer}.{share.name}", quantization)
    else:
        blocks = (Block(f"{source}{part}.weight", rows, share.columns) for part, rows in share.parts.items())
        yield RankTensor(f"{name}.weight", (count, len(share.columns)), tuple(blocks))
    if share.bias:
        blocks = (Block(f"{source}{part}.bias", rows, None) for part, rows in share.parts.items())
        yield RankTensor(f"{name}.bias", (count,), tuple(blocks))


def _calibrated(
    share: _Share, count: int, name: str, source: str, quantization: Quantization
) -> Iterator[RankTensor]:
    """A quantized matrix and its scaling factors, divided as in postprocess.py of the exporter.

    int4-awq: two rows are one row of bytes, even rows in the low four bits; a factor for each row and group
    of inputs. int8-sq: a factor for each row, and one for all activations. fp8: one factor for each of the
    two. int4-awq and int8-sq first multiply each input by its prequant_scaling_factor.
    """

    def matrix(what: str, rows: tuple[range, ...], columns: range, dtype: str) -> RankTensor:
        blocks = (Block(f"{source}.{what}", taken, columns) for taken in rows)
        shape = (sum(map(len, rows)), len(columns))
        return RankTensor(f"{name}.{what}", shape, tuple(blocks), dtype)

    if quantization == "int4-awq":
        pairs = tuple(_divided(taken, 2) for taken in share.rows)
        yield matrix("weight", pairs, share.columns, "I8")
        groups = _divided(share.columns, GROUP_SIZE)
        yield matrix("weights_scaling_factor", share.rows, groups, "F32")
    else:
        yield matrix("weight", share.rows, share.columns, "I8" if quantization == "int8-sq" else "F8_E4M3")
        factor = f"{source}.weights_scaling_factor"
        if quantization == "int8-sq":
            blocks = (Block(factor, taken, None) for taken in share.rows)
            yield RankTensor(f"{name}.weights_scaling_factor", (count,), tuple(blocks), "F32")
        else:
            yield _scalar(f"{name}.weights_scaling_factor", factor)
        yield _scalar(f"{name}.activation_scaling_factor", f"{source}.activation_scaling_factor")
    if quantization != "fp8":
        yield _vector(f"{name}.prequant_scaling_factor", f"{source}.prequant_scaling_factor", share.columns)


def _scalar(name: str, source: str) -> RankTensor:
    return RankTensor(name, (1,), (Block(source, range(1), None),), "F32")


def _shifted(rows: range, by: int) -> range:
    return range(rows.start + by, rows.stop + by)


def _divided(rows: range, by: int) -> range:
    return range(rows.start // by, rows.stop // by)


def _vector(name: str, source: str, rows: range) -> RankTensor:
    return RankTensor(name, (len(rows),), (Block(source, rows, None),))


def _vocabulary(name: str, source: str, model: Architecture, parallel: Parallel, part: int) -> RankTensor:
    rows = -(-model.vocab_size // parallel.tensor)
    taken = range(min(part * rows, model.vocab_size), min((part + 1) * rows, model.vocab_size))
    columns = range(model.hidden_size)
    return RankTensor(name, (rows, model.hidden_size), (Block(source, taken, columns),))


def _part_of(count: int, parts: int, part: int) -> range:
    size = count // parts
    return range(part * size, (part + 1) * size)
