"""From image pixels to meters in the plane of motion: a scale and the angle of the floor."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from slimpose.joint_names import mirror_pairs
from slimpose.motion.cleaning import CleanMotion

_SHOULDER_TO_ANKLE = 0.779
"""Shank, thigh and trunk up to the shoulder together, as a share of a person's height."""
_LENGTHS = (("ankle", "knee"), ("knee", "hip"), ("hip", "shoulder"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How pixels become meters: x to the right, y up, in the plane in which the person moves.

    Attributes:
        px_per_meter: Pixels per meter at the person; None for pixels.
        floor_angle_deg: Angle of the floor in the image, anticlockwise: over 0 if it rises to the
            right. It becomes horizontal.

    Raises:
        ValueError: If a value is out of range.
    """

    px_per_meter: float | None = None
    floor_angle_deg: float = 0.0

    def __post_init__(self) -> None:
        if self.px_per_meter is not None and not 0 < self.px_per_meter < math.inf:
            raise ValueError(f"px_per_meter is {self.px_per_meter:g}; expected a number over 0")
        if not -90 < self.floor_angle_deg < 90:
            raise ValueError(
                f"floor_angle_deg is {self.floor_angle_deg:g}; expected degrees, over -90 and "
                "under 90"
            )

    @property
    def unit(self) -> str:
        """The unit of the result: m or px."""
        return "px" if self.px_per_meter is None else "m"

    def points(self, motion: CleanMotion) -> Float64[np.ndarray, "n joints 2"]:
        """Return the keypoints with y up; y is 0 at the lowest one, x is 0 at the image's left."""
        angle = math.radians(self.floor_angle_deg)
        cosine, sine = math.cos(angle), math.sin(angle)
        x, y = motion.points_image[..., 0], -motion.points_image[..., 1]
        points = np.stack([cosine * x + sine * y, cosine * y - sine * x], axis=-1)
        points[..., 1] -= np.nanmin(points[..., 1])
        return points / (self.px_per_meter or 1.0)

    @classmethod
    def from_height(
        cls, motion: CleanMotion, height_m: float, *, floor_angle_deg: float = 0.0
    ) -> Scale:
        """Return the scale at which shank, thigh and trunk have the lengths of a person's height.

        Each length is its median over the frames and both sides, so posture does not matter as long
        as the person moves in the plane of the image.

        Raises:
            ValueError: If the height is not one, or the keypoints of a leg and trunk are missing.

        Source:
            Winter, "Biomechanics and Motor Control of Human Movement", 4th edition, figure 4.1.
        """
        if not 0.3 <= height_m <= 3:
            raise ValueError(f"the person's height is {height_m:g} m; expected 0.3..3 (meters?)")
        total_px = 0.0
        for one, other in _LENGTHS:
            lengths = _lengths_px(motion, one, other)
            if not np.isfinite(lengths).any():
                raise ValueError(
                    f"the height of {motion.name} needs {one} and {other}, which are not there; "
                    "expected a scale in pixels per meter instead"
                )
            total_px += float(np.nanmedian(lengths))
        return cls(
            px_per_meter=total_px / (_SHOULDER_TO_ANKLE * height_m), floor_angle_deg=floor_angle_deg
        )


def _lengths_px(motion: CleanMotion, one: str, other: str) -> Float64[np.ndarray, " m"]:
    """Return the distances of two keypoints, of both sides and all frames."""
    columns = {name: column for column, name in enumerate(mirror_pairs(motion.joints).plain_names)}
    pairs = [
        (columns.get(f"{side}_{one}"), columns.get(f"{side}_{other}")) for side in ("left", "right")
    ]
    points = motion.points_image
    lengths = [
        np.linalg.norm(points[:, first] - points[:, second], axis=1)
        for first, second in pairs
        if first is not None and second is not None
    ]
    return np.concatenate(lengths) if lengths else np.zeros(0)
