"""The ways to store weights, keys and values in fewer bits, by the names that recipes use."""

from typing import Literal

Quantization = Literal["none", "int8", "int4", "int4-awq", "int8-sq", "fp8"]
CacheQuantization = Literal["none", "int8", "fp8"]
# The scales of these are set while the model reads a text.
CALIBRATED: tuple[Quantization, ...] = ("int4-awq", "int8-sq", "fp8")
