"""The slots that fit into this machine's memory."""

from pathlib import Path

import psutil

from slipway.contract.errors import EngineRefused
from slipway.contract.manifest import Manifest
from slipway.runtime.block_cache import BLOCK, blocks_for
from slipway.runtime.executors.base import Executor
from slipway.runtime.pages import Pages
from slipway.runtime.slots import Places, Slots

# About 23,000 tokens of SmolLM2-135M, 4,700 of Llama-3.2-3B: a few system prompts and long chats, on a laptop
# that needs its memory for other programs too.
DEFAULT_CACHE_BYTES = 1 << 30
# Where Linux shows a container its limit and its use (control groups, version 2).
_CONTAINER = Path("/sys/fs/cgroup")


def places_within_memory(manifest: Manifest, executor: Executor, cache_bytes: int) -> Places:
    """The slots or pages of `executor`, with as many tokens as fit into memory.

    cache_bytes: upper bound for the prompts of finished requests. Raises EngineRefused, with the numbers,
    when there is not enough for one sequence of full length.
    """
    limits, can = manifest.limits, executor.capabilities
    longest = blocks_for(limits.max_seq_len) * BLOCK if can.pages else limits.max_seq_len
    most = limits.max_batch_size * longest
    tokens = most if can.reserves else min(_room(manifest, executor.bytes_per_token, longest), most)
    kept = cache_bytes // executor.bytes_per_token if can.appends else 0
    if can.pages:
        return Pages(limits.max_batch_size, tokens // BLOCK, kept // BLOCK)
    return Slots(limits.max_batch_size, tokens, kept, can.copies)


def available_bytes() -> int:
    """Bytes that are free on this machine, or within the limit of this container where that is less."""
    machine: int = psutil.virtual_memory().available
    try:
        limit, used = _read("memory.max"), _read("memory.current")
        pages = {name: int(size) for name, size in map(str.split, _read("memory.stat").splitlines())}
    except OSError:  # not Linux, or not in a container
        return machine
    if limit == "max":
        return machine
    # The use of a container includes pages of files that no process has mapped, such as weights read once
    # for their digests. The system takes them back when needed, so they count as free.
    cached = pages.get("active_file", 0) + pages.get("inactive_file", 0) - pages.get("file_mapped", 0)
    return min(machine, max(int(limit) - int(used) + max(cached, 0), 0))


def _room(manifest: Manifest, bytes_per_token: int, longest: int) -> int:
    """The tokens that fit into memory; at least one sequence of the longest must."""
    share, available = manifest.kv_cache.memory_share, available_bytes()
    tokens = int(share * available) // bytes_per_token
    if tokens < longest:
        raise EngineRefused(
            f"Engine {manifest.name} holds sequences of {longest} tokens, but there is memory for the keys "
            f"and values of {tokens}: {bytes_per_token / 1e3:.0f} kB each, kv_cache.memory_share {share:g} "
            f"of {available / 1e9:.2f} GB that are free. Free memory, or raise the share or lower "
            "limits.max_seq_len in the recipe and build it again."
        )
    return tokens


def _read(name: str) -> str:
    return (_CONTAINER / name).read_text(encoding="ascii").strip()
