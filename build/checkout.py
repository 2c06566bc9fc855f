"""The checkout that the commands of `build` run from, and its cache."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
CACHE = CHECKOUT / ".cache"
# Half a page of everything: what a quantizer reads when no other text is given.
CALIBRATION_TEXT = CHECKOUT / "build" / "calibration.txt"
