"""The layout of an ensemble: a parameter in config.pbtxt that names the version of its tensors and wires."""

import hashlib
import json
from collections.abc import Mapping

from slipway.contract.errors import EngineRefused
from slipway.contract.manifest import Manifest
from slipway.triton import engine_folder, interface, wiring

PARAMETER = "layout"


def layout(compiled: bool) -> str:
    """A digest of the tensors and wires that this version of Slipway writes: 16 hexadecimal digits."""
    parts = (
        interface.ENSEMBLE_INPUTS,
        interface.OWN_INPUTS,
        interface.ENSEMBLE_OUTPUTS,
        interface.OWN_OUTPUTS,
        interface.ENGINE_INPUTS,
        interface.ENGINE_OUTPUTS,
        interface.PREPROCESSING_INPUTS,
        interface.PREPROCESSING_OUTPUTS,
        interface.POSTPROCESSING_INPUTS,
        interface.POSTPROCESSING_OUTPUTS,
        wiring.extras(compiled),
        wiring.PREPROCESSING_INPUTS,
        wiring.PREPROCESSING_OUTPUTS,
        wiring.engine_inputs(compiled),
        wiring.engine_outputs(compiled),
        wiring.POSTPROCESSING_INPUTS,
        wiring.POSTPROCESSING_OUTPUTS,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def check(args: Mapping[str, str], manifest: Manifest) -> None:
    """Raise EngineRefused when another version of Slipway wrote the models of this engine.

    args: of the `initialize` of a stage whose config.pbtxt has the parameter.
    """
    parameters = json.loads(args["model_config"])["parameters"]
    if parameters.get(PARAMETER, {}).get("string_value") != layout(manifest.target.compiled):
        directory = parameters[engine_folder.PARAMETER]["string_value"]
        raise EngineRefused(
            f"Another version of Slipway wrote the Triton models of {manifest.name}; run `python -m build "
            f"repository {directory}`, and start Triton again."
        )
