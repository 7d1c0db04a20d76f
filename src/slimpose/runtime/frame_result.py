"""``FrameResult``: the people of one frame, for the code and the outputs that use them."""

from __future__ import annotations

from dataclasses import dataclass

from slimpose.arrays import Image
from slimpose.poses import Poses


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameResult:
    """The people of one frame and where they come from.

    Attributes:
        source: Name of the file or the stream; addresses are redacted.
        stem: Start of the names of its output files, unique among the sources.
        camera: Number of the source, in the order of the command line.
        frame_index: Number of the frame, as in ``Frame``.
        timestamp_s: Capture time, as in ``Frame``.
        image: RGB uint8.
        poses: The people, with ids if they are tracked.
        image_id: Number of the image in a COCO data set, if it has one.
        latency_ms: From the arrival of a live frame until its poses were ready.
    """

    source: str
    stem: str
    camera: int
    frame_index: int
    timestamp_s: float
    image: Image
    poses: Poses
    image_id: int | None = None
    latency_ms: float = 0.0
