import json

import pytest

from slipway.contract.errors import EngineRefused
from slipway.contract.manifest import Manifest
from slipway.contract.target import TARGETS
from slipway.triton import layout


def manifest(target: str) -> Manifest:
    return Manifest.model_construct(name="mine", target=TARGETS[target])


def args(**parameters: str) -> dict[str, str]:
    values = {name: {"string_value": value} for name, value in parameters.items()}
    return {"model_config": json.dumps({"parameters": values})}


@pytest.mark.parametrize("target", ["onnx-cpu", "tensorrt-llm"])
def test_models_of_another_version_are_refused_with_the_way_out(target: str) -> None:
    engine = manifest(target)
    written = layout.layout(engine.target.compiled)
    layout.check(args(engine_dir="engines/mine", layout=written), engine)
    for parameters in ({}, {"layout": "0123456789abcdef"}):
        with pytest.raises(EngineRefused, match=r"wrote the Triton models of mine; run `python -m build "):
            layout.check(args(engine_dir="engines/mine", **parameters), engine)
