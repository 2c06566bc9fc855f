"""OpenVINO's own writes on a disk that takes no more."""

import resource
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset15 as ops

from build.openvino.model_file import ModelFile
from slipway.contract.errors import NotWritten


def test_a_disk_that_takes_no_more_is_one_sentence(tmp_path: Path) -> None:
    entry = ops.parameter([1, 4], np.float32, name="entry")
    model = ov.Model([ops.relu(entry)], [entry])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(NotWritten, match=r"could not write .*model\.xml .*make room there"):
            ModelFile(tmp_path, model, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
