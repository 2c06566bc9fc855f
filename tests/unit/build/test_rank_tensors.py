from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from build.checkpoint.architecture import Architecture
from build.checkpoint.rope import Rope
from build.trtllm.parallel import check_parallel
from build.trtllm.rank_tensors import RankTensor, rank_tensors
from slipway.contract.errors import BuildError
from slipway.contract.recipe import Parallel

MODEL = Architecture(
    name="LlamaForCausalLM",
    hidden_size=6,
    intermediate_size=24,
    layers=4,
    heads=8,
    kv_heads=2,
    head_dim=2,
    vocab_size=11,
    norm_epsilon=1e-5,
    context=64,
    sliding_window=None,
    tied=False,
    qkv_bias=True,
    output_bias=True,
    mlp_bias=True,
    rope=Rope("default", 10000.0),
)


@st.composite
def shared_models(draw: st.DrawFn) -> tuple[Architecture, Parallel]:
    """Any model and any parallel that suits it."""
    parts, stages = draw(st.sampled_from([1, 2, 3, 4, 6, 8])), draw(st.integers(1, 3))
    kv_heads = draw(
        st.sampled_from([n for n in range(1, parts + 1) if parts % n == 0] + [parts * 2, parts * 3])
    )
    heads = np.lcm(kv_heads, parts) * draw(st.integers(1, 3))
    model = replace(
        MODEL,
        heads=int(heads),
        kv_heads=kv_heads,
        head_dim=draw(st.integers(1, 3)),
        hidden_size=draw(st.integers(1, 9)),
        intermediate_size=parts * draw(st.integers(1, 4)),
        layers=stages * draw(st.integers(1, 3)),
        vocab_size=draw(st.integers(1, 40)),
        tied=draw(st.booleans()),
        qkv_bias=draw(st.booleans()),
        output_bias=draw(st.booleans()),
        mlp_bias=draw(st.booleans()),
    )
    return model, Parallel(tensor=parts, pipeline=stages)


@cache
def _cells(shape: tuple[int, ...]) -> np.ndarray:
    """Every number of a tensor by its place, from 1 on, so that 0 is padding."""
    return np.arange(1, np.prod(shape) + 1).reshape(shape)


def _filled(shapes: dict[str, tuple[int, ...]], tensor: RankTensor) -> np.ndarray:
    """What a reader finds in the tensor: whose numbers they are is in the blocks' names alone."""
    rows = []
    for block in tensor.blocks:
        taken = _cells(shapes[block.source])[block.rows.start : block.rows.stop]
        rows.append(taken if block.columns is None else taken[:, block.columns.start : block.columns.stop])
    held = np.concatenate(rows)
    assert held.shape[1:] == tensor.shape[1:]
    filled = np.zeros(tensor.shape, int)
    filled[: len(held)] = held
    return filled


@given(shared_models())
def test_nothing_is_lost_and_only_what_all_need_is_repeated(shared: tuple[Architecture, Parallel]) -> None:
    model, parallel = shared
    check_parallel(parallel, model)
    seen = {name: np.zeros(shape, int) for name, shape in model.tensors().items()}
    for rank in range(parallel.world_size):
        for tensor in rank_tensors(model, parallel, rank):
            for block in tensor.blocks:
                part = seen[block.source][block.rows.start : block.rows.stop]
                if block.columns is not None:
                    part = part[:, block.columns.start : block.columns.stop]
                part += 1
    copies = max(1, parallel.tensor // model.kv_heads)
    for name, counts in seen.items():
        expected = 1
        if "k_proj" in name or "v_proj" in name:
            expected = copies
        elif "norm" in name or name.endswith(("o_proj.bias", "down_proj.bias")):
            expected = parallel.tensor
        elif name == "model.embed_tokens.weight" and model.tied:
            expected = 2
        assert (counts == expected).all(), name


@given(shared_models())
def test_each_query_head_stands_beside_the_keys_it_was_trained_with(
    shared: tuple[Architecture, Parallel],
) -> None:
    """The attention of a rank lets its local queries share its local keys evenly, in order."""
    model, parallel = shared
    size, shapes = model.head_dim, model.tensors()
    local_heads, local_keys = model.heads // parallel.tensor, max(1, model.kv_heads // parallel.tensor)
    queries, keys, values = (
        _cells(shapes[f"model.layers.0.self_attn.{letter}_proj.weight"]) for letter in "qkv"
    )
    for part in range(parallel.tensor):
        tensors = {tensor.name: tensor for tensor in rank_tensors(model, parallel, part)}
        held = _filled(shapes, tensors["transformer.layers.0.attention.qkv.weight"])
        heads = held.reshape(-1, size, model.hidden_size)
        assert len(heads) == local_heads + 2 * local_keys
        for local in range(local_heads):
            head = part * local_heads + local
            key_head = head // (model.heads // model.kv_heads)
            local_key = local_heads + local // (local_heads // local_keys)
            for place, whole, at in (
                (local, queries, head),
                (local_key, keys, key_head),
                (local_key + local_keys, values, key_head),
            ):
                assert np.array_equal(heads[place], whole[at * size : (at + 1) * size])


@given(shared_models())
def test_the_vocabulary_is_shared_in_equal_parts_with_zeros_at_the_end(
    shared: tuple[Architecture, Parallel],
) -> None:
    model, parallel = shared
    for name, stage in (("transformer.vocab_embedding.weight", 0), ("lm_head.weight", parallel.pipeline - 1)):
        parts = []
        for part in range(parallel.tensor):
            rank = stage * parallel.tensor + part
            tensors = {tensor.name: tensor for tensor in rank_tensors(model, parallel, rank)}
            parts.append(_filled(model.tensors(), tensors[name]))
        assert len({part.shape for part in parts}) == 1
        whole = np.concatenate(parts)
        assert 0 <= len(whole) - model.vocab_size < parallel.tensor
        assert np.array_equal(whole[: model.vocab_size], _cells((model.vocab_size, model.hidden_size)))
        assert not whole[model.vocab_size :].any()


@given(shared_models())
def test_all_stages_have_as_many_layers_and_only_the_ends_a_vocabulary(
    shared: tuple[Architecture, Parallel],
) -> None:
    model, parallel = shared
    for rank in range(parallel.world_size):
        names = {tensor.name for tensor in rank_tensors(model, parallel, rank)}
        stage = rank // parallel.tensor
        numbers = {int(name.split(".")[2]) for name in names if name.startswith("transformer.layers.")}
        assert numbers == set(range(model.layers // parallel.pipeline))
        assert ("transformer.vocab_embedding.weight" in names) == (stage == 0)
        last = stage == parallel.pipeline - 1
        assert ("lm_head.weight" in names) == ("transformer.ln_f.weight" in names) == last


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 16), st.integers(1, 4))
def test_what_passes_the_check_can_be_laid_out_and_what_is_advised_passes(
    kv_heads: int, group: int, parts: int, stages: int
) -> None:
    model = replace(MODEL, heads=kv_heads * group, kv_heads=kv_heads, intermediate_size=48, layers=12)
    try:
        check_parallel(Parallel(tensor=parts, pipeline=stages), model)
    except BuildError as error:
        advised = str(error).rsplit("give ", 1)[1].rstrip(".").replace(" or ", ", ").split(", ")
        for number in map(int, advised):
            by_tensor = "A tensor" in str(error)
            check_parallel(Parallel(tensor=number) if by_tensor else Parallel(pipeline=number), model)
    else:
        shapes = model.tensors()
        for rank in range(parts * stages):
            for tensor in rank_tensors(model, Parallel(tensor=parts, pipeline=stages), rank):
                _filled(shapes, tensor)


def test_the_advice_leaves_no_number_out() -> None:
    with pytest.raises(BuildError, match=r"8 attention heads .* give 1, 2, 4 or 8\."):
        check_parallel(Parallel(tensor=5), MODEL)
