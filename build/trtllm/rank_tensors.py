"""The tensors that one rank of a TensorRT-LLM checkpoint holds, and where their numbers come from.

Called by `convert`. Names and layout are those that TensorRT-LLM 1.2.1 loads (tensorrt_llm/models/llama,
models/qwen, layers/attention.py): q, k and v are one matrix, mlp.fc is transformers' gate_proj and mlp.gate
its up_proj, layers count from 0 in every stage of the pipeline. What a calibration made has the names and
layouts of NVIDIA's exporter (modelopt/torch/export of 0.37.0), of one rank: q, k and v are one there already.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from build.checkpoint.architecture import EMBEDDING, LM_HEAD, Architecture
from build.trtllm.mapping import Mapping
from slipway.contract.quantization import CALIBRATED, CacheQuantization, Quantization

# Inputs that share a scale in int4-awq.
GROUP_SIZE = 128

# Matrices that trtllm-build quantises for W8A16 and W4A16; the embedding and the lm_head stay as they are.
PROJECTIONS = ("attention.qkv", "attention.dense", "mlp.fc", "mlp.gate", "mlp.proj")


@dataclass(frozen=True, slots=True)
class Block:
    """Rows and columns of one tensor of the checkpoint or the calibration; a vector has no columns."""

    source: str
    rows: range
    columns: range | None


@dataclass(frozen=True, slots=True)
class RankTensor:
    """One tensor: its blocks below each other, and zeros below these up to its shape.

    dtype: safetensors' name; None is that of the weights that are not quantised.
    """

    name: str
    shape: tuple[int, ...]
    blocks: tuple[Block, ...]
    dtype: str | None = None


def rank_tensors(
    model: Architecture,
    mapping: Mapping,
    rank: int,
    form: Quantization = "none",
    cache: CacheQuantization = "none",
) -> Iterator[RankTensor]:
    """All tensors of `rank`.

    The rows of the embedding and of the lm_head are shared out too, as `use_parallel_embedding` says; the
    last parts are filled up with zeros where the vocabulary does not divide. A tied lm_head is written like
    any other: trtllm-build finds that both are equal and keeps one.
    """
    stage, part = divmod(rank, mapping.tensor)
    hidden = range(model.hidden_size)
    if stage == 0:
        yield _vocabulary("transformer.vocab_embedding.weight", EMBEDDING, model, mapping, part)
    for index, layer in enumerate(mapping.layers(model, stage)):
        source, target = f"model.layers.{layer}.", f"transformer.layers.{index}."
        yield _vector(f"{target}input_layernorm.weight", f"{source}input_layernorm.weight", hidden)
        for projection in (*_attention(model, mapping, part), *_mlp(model, mapping, part)):
            yield from _projection(projection, layer, target, form)
        yield _vector(f"{target}post_layernorm.weight", f"{source}post_attention_layernorm.weight", hidden)
        if cache != "none":
            # The loader takes the larger of k and v (preprocess_weights in models/modeling_utils.py); older
            # ones know the third alone.
            for kind in ("k", "v", "kv"):
                name = f"attention.{kind}_cache_scaling_factor"
                yield _scalar(f"{target}{name}", f"transformer.layers.{layer}.{name}")
    if stage == mapping.pipeline - 1:
        yield _vector("transformer.ln_f.weight", "model.norm.weight", hidden)
        lm_head = EMBEDDING if model.tied else LM_HEAD
        yield _vocabulary("lm_head.weight", lm_head, model, mapping, part)


@dataclass(frozen=True, slots=True)
class _Projection:
    """The share of one rank in a matrix.

    parts: rows of each matrix of the checkpoint that it is made of. rows: the same, counted in the one matrix
    that NVIDIA's exporter makes of them.
    """

    name: str
    parts: dict[str, range]
    rows: tuple[range, ...]
    columns: range
    bias: bool


def _attention(model: Architecture, mapping: Mapping, part: int) -> Iterator[_Projection]:
    hidden, size = range(model.hidden_size), model.head_dim
    queries = _share(model.heads, mapping.tensor, part)
    if model.kv_heads >= mapping.tensor:
        keys = _share(model.kv_heads, mapping.tensor, part)
    else:  # neighbouring ranks, whose queries read the same head, each have it
        head = part * model.kv_heads // mapping.tensor
        keys = range(head, head + 1)
    query_rows = range(queries.start * size, queries.stop * size)
    key_rows = range(keys.start * size, keys.stop * size)
    parts = {"self_attn.q_proj": query_rows, "self_attn.k_proj": key_rows, "self_attn.v_proj": key_rows}
    key_start, value_start = model.heads * size, (model.heads + model.kv_heads) * size
    rows = (query_rows, _shifted(key_rows, key_start), _shifted(key_rows, value_start))
    yield _Projection("attention.qkv", parts, rows, hidden, model.qkv_bias)
    parts = {"self_attn.o_proj": hidden}
    yield _Projection("attention.dense", parts, (hidden,), query_rows, model.output_bias)


def _mlp(model: Architecture, mapping: Mapping, part: int) -> Iterator[_Projection]:
    hidden, inner = range(model.hidden_size), _share(model.intermediate_size, mapping.tensor, part)
    for name, source, rows, columns in (
        ("mlp.fc", "mlp.gate_proj", inner, hidden),
        ("mlp.gate", "mlp.up_proj", inner, hidden),
        ("mlp.proj", "mlp.down_proj", hidden, inner),
    ):
        yield _Projection(name, {source: rows}, (rows,), columns, model.mlp_bias)


def _projection(held: _Projection, layer: int, target: str, form: Quantization) -> Iterator[RankTensor]:
    """A matrix, and its bias; one that is cut by columns has its whole bias in every rank."""
    count = sum(map(len, held.rows))
    name, source = f"{target}{held.name}", f"model.layers.{layer}."
    if form in CALIBRATED:
        yield from _calibrated(held, count, name, f"transformer.layers.{layer}.{held.name}", form)
    else:
        blocks = (Block(f"{source}{part}.weight", rows, held.columns) for part, rows in held.parts.items())
        yield RankTensor(f"{name}.weight", (count, len(held.columns)), tuple(blocks))
    if held.bias:
        blocks = (Block(f"{source}{part}.bias", rows, None) for part, rows in held.parts.items())
        yield RankTensor(f"{name}.bias", (count,), tuple(blocks))


def _calibrated(
    held: _Projection, count: int, name: str, source: str, form: Quantization
) -> Iterator[RankTensor]:
    """A quantised matrix and its scaling factors; how each is shared: postprocess.py of the exporter.

    int4-awq: two rows are one of bytes, even rows in the low four bits; a factor for each row and group of
    inputs. int8-sq: a factor for each row, and one for all activations. fp8: one for each. In the first two
    the activations are multiplied, input by input, with the prequant_scaling_factor first.
    """

    def matrix(what: str, rows: tuple[range, ...], columns: range, dtype: str) -> RankTensor:
        blocks = (Block(f"{source}.{what}", taken, columns) for taken in rows)
        shape = (sum(map(len, rows)), len(columns))
        return RankTensor(f"{name}.{what}", shape, tuple(blocks), dtype)

    if form == "int4-awq":
        pairs = tuple(_divided(taken, 2) for taken in held.rows)
        yield matrix("weight", pairs, held.columns, "I8")
        groups = _divided(held.columns, GROUP_SIZE)
        yield matrix("weights_scaling_factor", held.rows, groups, "F32")
    else:
        yield matrix("weight", held.rows, held.columns, "I8" if form == "int8-sq" else "F8_E4M3")
        factor = f"{source}.weights_scaling_factor"
        if form == "int8-sq":
            blocks = (Block(factor, taken, None) for taken in held.rows)
            yield RankTensor(f"{name}.weights_scaling_factor", (count,), tuple(blocks), "F32")
        else:
            yield _scalar(f"{name}.weights_scaling_factor", factor)
        yield _scalar(f"{name}.activation_scaling_factor", f"{source}.activation_scaling_factor")
    if form != "fp8":
        yield _vector(f"{name}.prequant_scaling_factor", f"{source}.prequant_scaling_factor", held.columns)


def _scalar(name: str, source: str) -> RankTensor:
    return RankTensor(name, (1,), (Block(source, range(1), None),), "F32")


def _shifted(rows: range, by: int) -> range:
    return range(rows.start + by, rows.stop + by)


def _divided(rows: range, by: int) -> range:
    return range(rows.start // by, rows.stop // by)


def _vector(name: str, source: str, rows: range) -> RankTensor:
    return RankTensor(name, (len(rows),), (Block(source, rows, None),))


def _vocabulary(name: str, source: str, model: Architecture, mapping: Mapping, part: int) -> RankTensor:
    rows = -(-model.vocab_size // mapping.tensor)
    taken = range(min(part * rows, model.vocab_size), min((part + 1) * rows, model.vocab_size))
    columns = range(model.hidden_size)
    return RankTensor(name, (rows, model.hidden_size), (Block(source, taken, columns),))


def _share(count: int, parts: int, part: int) -> range:
    size = count // parts
    return range(part * size, (part + 1) * size)
