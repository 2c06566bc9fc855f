"""A folder or volume with built engines alone: the models for Triton are made from it."""

import logging
from pathlib import Path

from slipway.contract.errors import EngineRefused, ServerFailed
from slipway.contract.manifest import FILE_NAME
from slipway.triton.repository import write_repository

_log = logging.getLogger(__name__)


def write_models(engines: Path, repository: Path) -> None:
    """Write the models of all engines below `engines`, when `repository` has no model.

    An engine whose manifest cannot be read is named in the log and left out. Raises ServerFailed when the
    folder of the repository cannot be written.
    """
    if any(repository.glob("*/config.pbtxt")):
        return
    for manifest in sorted(engines.glob(f"*/{FILE_NAME}")):
        try:
            write_repository(manifest.parent, repository)
        except EngineRefused as error:
            _log.warning("%s is left out: %s", manifest.parent, error)
        except OSError as error:
            raise ServerFailed(
                f"The models of {manifest.parent} cannot be written to {repository} ({error.strerror}); give "
                "a folder that can be written with --model-repository or SLIPWAY_MODEL_REPOSITORY."
            ) from None
