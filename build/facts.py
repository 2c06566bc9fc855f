"""What one target adds to an engine's manifest."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Facts:
    """Fields of the manifest, under the manifest's names.

    settings: everything else that decides how the engine turns out; a change makes a new build necessary.
    """

    method: str
    versions: dict[str, str]
    requires: dict[str, str]
    device: str
    compute_capability: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
