"""The arguments that start a build in NVIDIA's container."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from build.checkout import CHECKOUT
from slipway.contract.recipe import Recipe

_CHECKPOINT = "--checkpoint"
_CHECKOUT_IN_CONTAINER = Path("/app")  # compose.yaml


def arguments(recipe: Recipe, words: Sequence[str]) -> list[str]:
    """The words after `docker compose run --rm --user …`, in the checkout, that build `recipe`.

    words: the arguments of the command `engine`, the recipe's file first. The container has the checkout;
    files outside it, also behind symbolic links, get a mount of their own.
    """
    words = [_relative(word) for word in words]
    checkpoint = words[words.index(_CHECKPOINT) + 1] if _CHECKPOINT in words else recipe.checkpoint
    read = (Path(words[0]), Path(checkpoint), *recipe.adapters, recipe.calibration, recipe.chat.template)
    mounts = dict.fromkeys(mount for path in read if path for mount in _mounts(path))
    return [*(word for mount in mounts for word in ("--volume", mount)), "build", "engine", *words]


def _mounts(path: Path) -> Iterator[str]:
    named = Path(os.path.normpath(path.absolute()))
    if path.is_absolute():
        yield f"{named}:{named}:ro"
    elif not named.is_relative_to(CHECKOUT):
        yield f"{named}:{os.path.normpath(_CHECKOUT_IN_CONTAINER / path)}:ro"
    # In the cache of the hub, every file of a folder is a link.
    files = path.iterdir() if path.is_dir() else ()
    linked = {path.resolve(), *(file.resolve().parent for file in files)} - {named}
    yield from (f"{place}:{place}:ro" for place in sorted(linked))


def _relative(word: str) -> str:
    """A path in the checkout, relative to it: that is the same in the container."""
    path = Path(word)
    return str(path.relative_to(CHECKOUT)) if path.is_relative_to(CHECKOUT) else word
