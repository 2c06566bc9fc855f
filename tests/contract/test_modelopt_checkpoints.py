"""Converted checkpoints against those of NVIDIA's exporter (golden/modelopt_checkpoints.py), bit by bit."""

import hashlib
import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from support import converted
from support.architectures import CONFIGS
from support.paths import GOLDEN

from build.trtllm.convert import convert
from slipway.contract.recipe import Parallel

EXPORTED = GOLDEN / "modelopt"


def _described(path: Path) -> dict[str, str]:
    return {
        name: f"{list(array.shape)} {array.dtype} {hashlib.sha256(array.tobytes()).hexdigest()[:32]}"
        for name, array in load_file(path).items()
    }


@pytest.mark.parametrize("split", [f"tp{tensor}-pp{stages}" for stages in (1, 2) for tensor in (1, 2, 4)])
@pytest.mark.parametrize("kind", CONFIGS)
def test_every_rank_is_the_one_that_nvidias_exporter_writes(kind: str, split: str, tmp_path: Path) -> None:
    exported = json.loads((EXPORTED / f"{kind}.json").read_text())[split]
    converted.write_checkpoint(tmp_path / "checkpoint", CONFIGS[kind])
    output = tmp_path / "output"
    convert(
        tmp_path / "checkpoint",
        output,
        "none",
        "bfloat16",
        Parallel(tensor=int(split[2]), pipeline=int(split[-1])),
    )
    assert len(exported["ranks"]) == len(list(output.glob("rank*.safetensors")))
    for rank, tensors in enumerate(exported["ranks"]):
        assert _described(output / f"rank{rank}.safetensors") == tensors

    theirs = exported["config"]
    ours = json.loads((output / "config.json").read_text())
    del ours["producer"]
    if theirs.get("rotary_scaling"):
        theirs["rotary_scaling"].pop("type", None)  # the older name of rope_type, beside it
    shared = ours.keys() & theirs.keys()
    assert {key: ours[key] for key in shared} == {key: theirs[key] for key in shared}
    if "qwen" not in kind:  # without tensorrt_llm, the exporter writes only the tensors of Qwen
        assert {key for key in ours if key not in theirs and ours[key]} <= {"attn_bias", "mlp_bias"}
