"""Memory that becomes resident page by page, and can be mapped several times."""

import contextlib
import ctypes
import mmap
import os
import sys
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

# Python's mmap takes no address, so copies are mapped by the C library (man 2 mmap).
_MAP_FIXED = 0x10
_MAP_NORESERVE = 0x4000
_FAILED = ctypes.c_void_p(-1).value


class MappedMemory:
    """`size` bytes of zeros, committed by the operating system page by page as they are written.

    NumPy's own allocator would ask for huge pages and make nearly all of it resident at once.
    """

    def __init__(self, size: int) -> None:
        if sys.platform != "linux":
            self._memory = mmap.mmap(-1, size)
            return
        self._file = os.memfd_create("slipway-kv-cache")
        weakref.finalize(self, os.close, self._file)
        os.ftruncate(self._file, size)
        self._memory = mmap.mmap(self._file, size)
        with contextlib.suppress(OSError):  # a kernel built without huge pages refuses this advice
            self._memory.madvise(mmap.MADV_NOHUGEPAGE)

    def array(self, start: int, shape: Sequence[int], dtype: npt.DTypeLike = np.float32) -> NDArray[Any]:
        """The bytes from `start` on, as an array of this shape."""
        count = int(np.prod(shape))
        return np.frombuffer(self._memory, dtype=dtype, count=count, offset=start).reshape(shape)

    def release(self, start: int, stop: int) -> None:
        """Give the whole pages of [start, stop) back to the operating system; they read as zeros again."""
        if sys.platform != "linux":
            return  # elsewhere the pages stay and are reused
        start, stop = _page(start + mmap.PAGESIZE - 1), _page(stop)
        if start < stop:
            self._memory.madvise(mmap.MADV_REMOVE, start, stop - start)

    def repeated(self, starts: Sequence[int], size: int, times: int) -> "Repetition":
        """The `size` bytes at each of `starts`, mapped `times` times; all in whole pages. Linux only."""
        return Repetition(self._file, starts, size, times)


class Repetition:
    """Stretches of one memory, each mapped several times in a row: a write to one copy is a write to all.

    A page counts as resident (RSS) once for every copy it was read through, though it is there once (PSS).
    """

    def __init__(self, file: int, starts: Sequence[int], size: int, times: int) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.mmap.restype = ctypes.c_void_p
        length = len(starts) * times * size
        nowhere = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        self._address = self._map(None, length, 0, nowhere, -1, 0)
        self._stretch = times * size
        weakref.finalize(self, _unmap, self._libc, self._address, length)
        access = mmap.PROT_READ | mmap.PROT_WRITE
        for index, start in enumerate(starts):
            for copy in range(times):
                at = self._address + index * self._stretch + copy * size
                self._map(at, size, access, mmap.MAP_SHARED | _MAP_FIXED, file, start)

    def array(self, index: int, shape: Sequence[int]) -> NDArray[np.float32]:
        """The copies of a stretch, as float32 of this shape; valid as long as this object."""
        count = int(np.prod(shape))
        address = self._address + index * self._stretch
        return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address)).reshape(shape)

    def _map(self, at: int | None, length: int, protection: int, flags: int, file: int, offset: int) -> int:
        address = self._libc.mmap(
            ctypes.c_void_p(at),
            ctypes.c_size_t(length),
            protection,
            flags,
            file,
            ctypes.c_long(offset),
        )
        if address == _FAILED:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        return int(address)


def _unmap(libc: ctypes.CDLL, address: int, length: int) -> None:
    libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(length))


def _page(offset: int) -> int:
    return offset // mmap.PAGESIZE * mmap.PAGESIZE
