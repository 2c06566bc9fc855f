from pathlib import Path

import pytest

from slipway.contract.errors import ServerFailed
from slipway.serve import tritonserver
from slipway.serve.ports import Ports


@pytest.mark.parametrize("name", ["my models", "모델", "a'b", "a$b"])
def test_a_repository_that_triton_cannot_hand_to_its_stages_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name / "model").mkdir(parents=True)
    (tmp_path / name / "model" / "config.pbtxt").touch()
    with pytest.raises(ServerFailed, match=r"may have ASCII letters.*move it: --model-repository FOLDER"):
        tritonserver.start(tmp_path / name, "127.0.0.1", Ports())
