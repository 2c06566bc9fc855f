"""A JSON object in a file of a checkpoint."""

import json
from pathlib import Path
from typing import Any

from slipway.contract.errors import CheckpointError


def read(path: Path) -> dict[str, Any]:
    """Raises CheckpointError when the file is missing, unreadable or not a JSON object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing; a checkpoint is the folder that save_pretrained writes."
        ) from None
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}); copy or download it again."
        ) from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}); copy or download it again.") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is not a JSON object; copy or download it again.")
    return values
