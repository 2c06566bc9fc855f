"""The tensors that one rank of a TensorRT-LLM checkpoint holds, and where their numbers come from.

Called by `convert`. Names and layout are those that TensorRT-LLM 1.2.1 loads (tensorrt_llm/models/llama,
models/qwen, layers/attention.py): q, k and v are one matrix, mlp.fc is transformers' gate_proj and mlp.gate
its up_proj, layers count from 0 in every stage of the pipeline.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from build.architecture import EMBEDDING, LM_HEAD, Architecture
from build.mapping import Mapping

# Matrices that trtllm-build quantises for W8A16 and W4A16; the embedding and the lm_head stay as they are.
PROJECTIONS = ("attention.qkv", "attention.dense", "mlp.fc", "mlp.gate", "mlp.proj")


@dataclass(frozen=True, slots=True)
class Block:
    """Rows and columns of one tensor of the Hugging Face checkpoint; a vector has no columns."""

    source: str
    rows: range
    columns: range | None


@dataclass(frozen=True, slots=True)
class RankTensor:
    """One tensor: its blocks below each other, and zeros below these up to its shape."""

    name: str
    shape: tuple[int, ...]
    blocks: tuple[Block, ...]


def rank_tensors(model: Architecture, mapping: Mapping, rank: int) -> Iterator[RankTensor]:
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
        yield from _attention(model, mapping, part, f"{source}self_attn.", f"{target}attention.")
        yield _vector(f"{target}post_layernorm.weight", f"{source}post_attention_layernorm.weight", hidden)
        yield from _mlp(model, mapping, part, f"{source}mlp.", f"{target}mlp.")
    if stage == mapping.pipeline - 1:
        yield _vector("transformer.ln_f.weight", "model.norm.weight", hidden)
        lm_head = EMBEDDING if model.tied else LM_HEAD
        yield _vocabulary("lm_head.weight", lm_head, model, mapping, part)


def _attention(
    model: Architecture, mapping: Mapping, part: int, source: str, target: str
) -> Iterator[RankTensor]:
    hidden, size = range(model.hidden_size), model.head_dim
    queries = _share(model.heads, mapping.tensor, part)
    if model.kv_heads >= mapping.tensor:
        keys = _share(model.kv_heads, mapping.tensor, part)
    else:  # neighbouring ranks, whose queries read the same head, each have it
        head = part * model.kv_heads // mapping.tensor
        keys = range(head, head + 1)
    query_rows = range(queries.start * size, queries.stop * size)
    key_rows = range(keys.start * size, keys.stop * size)
    parts = {f"{source}q_proj": query_rows, f"{source}k_proj": key_rows, f"{source}v_proj": key_rows}
    yield from _projection(f"{target}qkv", parts, hidden, model.qkv_bias)
    yield from _projection(f"{target}dense", {f"{source}o_proj": hidden}, query_rows, model.output_bias)


def _mlp(model: Architecture, mapping: Mapping, part: int, source: str, target: str) -> Iterator[RankTensor]:
    hidden, inner = range(model.hidden_size), _share(model.intermediate_size, mapping.tensor, part)
    for name, parts, columns in (
        ("fc", {f"{source}gate_proj": inner}, hidden),
        ("gate", {f"{source}up_proj": inner}, hidden),
        ("proj", {f"{source}down_proj": hidden}, inner),
    ):
        yield from _projection(f"{target}{name}", parts, columns, model.mlp_bias)


def _projection(name: str, parts: dict[str, range], columns: range, bias: bool) -> Iterator[RankTensor]:
    """A matrix, and its bias; one that is cut by columns has its whole bias in every rank."""
    rows = sum(map(len, parts.values()))
    blocks = (Block(f"{source}.weight", taken, columns) for source, taken in parts.items())
    yield RankTensor(f"{name}.weight", (rows, len(columns)), tuple(blocks))
    if bias:
        blocks = (Block(f"{source}.bias", taken, None) for source, taken in parts.items())
        yield RankTensor(f"{name}.bias", (rows,), tuple(blocks))


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
