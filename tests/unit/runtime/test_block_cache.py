import numpy as np

from slipway.runtime.block_cache import BLOCK, BlockCache, blocks_for

PAGE_OF_BYTES = (1, BLOCK, 64, 2)


def test_released_blocks_give_their_memory_back_and_leave_the_others() -> None:
    cache = BlockCache({"key": PAGE_OF_BYTES, "value": PAGE_OF_BYTES}, blocks=6)
    for array in cache.arrays.values():
        array[:] = 1
    cache.release([4, 0, 1])
    for array in cache.arrays.values():
        assert array[:, 0, 0, 0, 0].tolist() == [0, 0, 1, 1, 0, 1, 1]
        assert (array[:, 0, 0, 0, 0] == array[:, -1, -1, -1, -1]).all()


def test_no_buffer_and_no_block_overlaps_another() -> None:
    shapes = {"a": (2, BLOCK, 4, 2), "b": (3, BLOCK, 8, 4), "c": (2, BLOCK, 4, 2)}
    cache = BlockCache(shapes, blocks=3)
    for number, array in enumerate(cache.arrays.values()):
        array[:] = 10 * number + np.arange(4).reshape(4, 1, 1, 1, 1)
    for number, array in enumerate(cache.arrays.values()):
        assert (array == 10 * number + np.arange(4).reshape(4, 1, 1, 1, 1)).all()
    assert cache.scratch == [3]
    assert cache.bytes_per_token == 2 * 4 * 2 + 3 * 8 * 4 + 2 * 4 * 2


def test_a_sequence_has_as_many_blocks_as_it_begins() -> None:
    assert [blocks_for(tokens) for tokens in (1, BLOCK, BLOCK + 1)] == [1, 1, 2]
