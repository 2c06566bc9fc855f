import numpy as np

from slipway.runtime.block_cache import BLOCK, BlockCache


def filled() -> BlockCache:
    cache = BlockCache({"key": (2, BLOCK, 4, 2), "value": (2, BLOCK, 4, 2)}, slots=3, max_len=2 * BLOCK + 1)
    for array in cache.arrays.values():
        array[:] = np.arange(len(array))[:, None, None, None, None] + 1
    return cache


def test_no_two_slots_share_a_block_and_none_has_the_scratch_block() -> None:
    cache = filled()
    taken = [block for slot in range(3) for block in cache.blocks(slot, 2 * BLOCK + 1)]
    assert len(set(taken)) == 9
    assert cache.scratch[0] not in taken


def test_a_table_has_the_blocks_of_the_tokens_and_no_more() -> None:
    cache = filled()
    assert [len(cache.blocks(1, length)) for length in (1, BLOCK, BLOCK + 1)] == [1, 1, 2]
    assert list(cache.blocks(1, 1)) == list(cache.blocks(1, 2 * BLOCK))[:1]


def test_a_copy_takes_every_block_that_a_prefix_reaches_into() -> None:
    cache = filled()
    cache.copy(2, 0, BLOCK + 1)
    for array in cache.arrays.values():
        held = array[:, 0, 0, 0, 0].tolist()
        assert held[:3] == [7, 8, 3]


def test_a_released_slot_gives_its_memory_back_and_leaves_its_neighbours() -> None:
    sizes = {"key": (1, BLOCK, 64, 2)}  # a block is a page
    cache = BlockCache(sizes, slots=2, max_len=2 * BLOCK)
    cache.arrays["key"][:] = 1
    cache.release(0, keep=1)
    assert cache.arrays["key"][:, 0, 0, 0, 0].tolist() == [1, 0, 1, 1, 1]
    assert cache.bytes_per_token == 128
