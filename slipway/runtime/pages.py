"""Which pages of the KV cache hold what, and the pages of each request: the prefix cache, as plain data."""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Iterator

from slipway.runtime.block_cache import BLOCK, blocks_for
from slipway.runtime.slots import MIN_CHUNK, Cut, Place, TokenIds


class Pages:
    """Pages of BLOCK tokens. A page that a prompt fills is known by its content and all that is before it.

    A prompt that begins like another one, running or finished, uses the same pages, without a copy. A running
    request has pages for its longest answer, so it never has to give way to another one. Pages of finished
    prompts stay until they are needed, or until there are too many; then the least recently used goes first.
    Tokens of answers are not kept: decode gave them other bits than a prompt's (MIN_CHUNK says why).
    """

    def __init__(self, count: int, pages: int, idle_pages: int) -> None:
        """count: sequences that run at once. pages: in all. idle_pages: upper bound for those not in use."""
        self.count = count
        self._idle_pages = idle_pages
        self._free = list(range(pages - 1, -1, -1))
        self._users: Counter[int] = Counter()
        self._known: dict[bytes, int] = {}
        self._contents: dict[int, bytes] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()  # by last use
        self._tables: dict[int, list[int]] = {}

    @property
    def idle_tokens(self) -> int:
        """Tokens of finished prompts that are kept at this moment."""
        return len(self._idle) * BLOCK

    def take(self, prompt: TokenIds, need: int, use_cache: bool = True) -> Place | None:
        """Give a prompt a slot and pages for `need` tokens, if there are as many.

        need: upper bound for the tokens of prompt and answer. use_cache: whether the prompt may begin with
            tokens that were read before.
        """
        slot = next((slot for slot in range(self.count) if slot not in self._tables), None)
        if slot is None:
            return None
        contents = list(_contents(prompt))
        shared = self._shared(contents[: (len(prompt) - MIN_CHUNK) // BLOCK]) if use_cache else []
        new = blocks_for(need) - len(shared)
        if new > len(self._free) + len(self._idle.keys() - set(shared)):
            return None
        for page in shared:
            self._idle.pop(page, None)
        table = [*shared, *(self._fresh() for _ in range(new))]
        self._users.update(table)
        # One prompt is read at a time, so no other one looks for these before they are read.
        for content, page in list(zip(contents, table, strict=False))[len(shared) :]:
            if content not in self._known:
                self._known[content], self._contents[page] = page, content
        self._tables[slot] = table
        return Place(slot, slot, len(shared) * BLOCK, pages=tuple(table))

    def leave(self, slot: int, read: int) -> list[Cut]:
        """Take a request out that has read the first `read` tokens of its prompt. Returns the freed pages."""
        freed = []
        table = self._tables.pop(slot)
        # The last pages first, because a page is of no use without those before it.
        for index in range(len(table) - 1, -1, -1):
            page = table[index]
            self._users[page] -= 1
            if self._users[page]:
                continue
            if page in self._contents and (index + 1) * BLOCK <= read:
                self._idle[page] = None
            else:
                freed.append(self._forget(page))
        while len(self._idle) > self._idle_pages:
            freed.append(self._forget(self._idle.popitem(last=False)[0]))
        self._free.extend(freed)
        return [Cut(page, 0) for page in freed]

    def _shared(self, contents: list[bytes]) -> list[int]:
        """The pages that hold these contents, up to the first that is not held."""
        found: list[int] = []
        for content in contents:
            if content not in self._known:
                break
            found.append(self._known[content])
        return found

    def _fresh(self) -> int:
        """A free page, or else the least recently used one."""
        if self._free:
            return self._free.pop()
        return self._forget(self._idle.popitem(last=False)[0])

    def _forget(self, page: int) -> int:
        content = self._contents.pop(page, None)
        if content is not None:
            del self._known[content]
        del self._users[page]
        return page


def _contents(prompt: TokenIds) -> Iterator[bytes]:
    """A digest for each page that the prompt fills: of its tokens and of all before them."""
    digest = hashlib.blake2b(digest_size=32)
    for start in range(0, len(prompt) - BLOCK + 1, BLOCK):
        digest.update(prompt[start : start + BLOCK].tobytes())
        yield digest.digest()
