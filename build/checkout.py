"""The checkout that the commands of `build` run from, and its cache."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
CACHE = CHECKOUT / ".cache"
# Half a page of everything: the text that a calibration reads by default.
CALIBRATION_TEXT = CHECKOUT / "build" / "calibration.txt"
