"""What the container has to see of the machine, as arguments of `docker compose run`."""

from pathlib import Path
from typing import Any

import pytest
from support import tiny_checkpoints as tiny

from build.checkout import CHECKOUT
from build.trtllm import container
from slipway.contract.recipe import Recipe


def _arguments(words: list[str], **fields: Any) -> list[str]:
    values = {"name": "mine", "checkpoint": "nowhere", "target": "tensorrt-llm", "quantization": "none"}
    return container.arguments(Recipe.model_validate(values | fields), words)


def _mounted(words: list[str], **fields: Any) -> list[str]:
    arguments = _arguments(words, **fields)
    assert arguments[-len(words) - 2 :] == ["build", "engine", *words]
    mounts = arguments[: -len(words) - 2]
    assert mounts[::2] == ["--volume"] * (len(mounts) // 2)
    return mounts[1::2]


def test_what_lies_in_the_checkout_is_there_already() -> None:
    recipe = "engines/llama-2-7b-chat.yaml"
    assert _arguments([str(CHECKOUT / recipe)]) == ["build", "engine", recipe]


def test_what_lies_elsewhere_is_mounted_where_the_recipe_says(tmp_path: Path) -> None:
    model, text = tiny.write(tmp_path / "model"), tmp_path / "chats.txt"
    recipe = "engines/mine.yaml"
    mounts = _mounted([recipe], checkpoint=model, quantization="fp8", calibration=text)
    assert mounts == [f"{model}:{model}:ro", f"{text}:{text}:ro"]
    assert _mounted([recipe, "--checkpoint", str(model)]) == [f"{model}:{model}:ro"]


def test_a_path_out_of_the_checkout_ends_there_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT)
    beside = CHECKOUT.parent / "no-such-folder"
    assert _mounted(["engines/mine.yaml"], checkpoint="../no-such-folder") == [f"{beside}:/no-such-folder:ro"]


def test_the_links_of_a_hubs_cache_lead_to_what_they_lead_to_here(tmp_path: Path) -> None:
    blobs, snapshot = tiny.write(tmp_path / "hub" / "blobs"), tmp_path / "hub" / "snapshots" / "8cde5c"
    snapshot.mkdir(parents=True)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    mounts = _mounted(["engines/mine.yaml"], checkpoint=snapshot)
    assert mounts == [f"{snapshot}:{snapshot}:ro", f"{blobs}:{blobs}:ro"]
