"""What the specifications of all networks have in common: an input size and a stride."""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slimpose.arrays import Size
from slimpose.geometry import CanvasFit

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class SizedSpec(ABC):
    """Base of the specifications of networks.

    Attributes:
        size: Input (height, width).
    """

    size: Size

    @property
    @abstractmethod
    def stride(self) -> int:
        """Input pixels per cell of the output maps (of several maps, the finest)."""

    @property
    def fit(self) -> CanvasFit:
        """How an image fills the input."""
        return "letterbox"

    @property
    def heatmap_size(self) -> Size:
        """Height and width of the output maps (of several maps, the finest)."""
        return Size(self.size.height // self.stride, self.size.width // self.stride)

    def at(self, size: Size) -> Self:
        """Return the same network for another input size."""
        return dataclasses.replace(self, size=size)

    def to_json(self) -> str:
        """Return the spec as JSON, for a file's metadata."""
        return json.dumps(dataclasses.asdict(self))
