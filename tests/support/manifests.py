"""A manifest without an engine."""

from slipway.contract.manifest import Manifest
from slipway.contract.recipe import Chat, Limits
from slipway.contract.target import TARGETS


def manifest(limits: Limits, vocab_size: int, chat: Chat | None = None) -> Manifest:
    return Manifest(
        name="small",
        target=TARGETS["onnx-cpu"],
        quantization="int4",
        limits=limits,
        chat=chat or Chat(),
        eos_token_ids=(2,),
        vocab_size=vocab_size,
        source={},
        recipe_sha256="",
        versions={},
        requires={},
        device="cpu",
        created="2026-01-01T00:00:00Z",
        files={},
    )
