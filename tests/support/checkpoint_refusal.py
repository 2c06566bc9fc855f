"""What is said of a checkpoint that does not open."""

from pathlib import Path

import pytest

from build.checkpoint.checkpoint import Checkpoint
from slipway.contract.errors import CheckpointError


def refusal(folder: Path) -> str:
    """The sentence with which the checkpoint in `folder` is refused."""
    with pytest.raises(CheckpointError) as refused:
        Checkpoint.open(folder)
    message = str(refused.value)
    assert message.endswith("."), message
    assert "\n" not in message
    return message
