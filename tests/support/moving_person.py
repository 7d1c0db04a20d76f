"""A walker and a pendulum whose joint angles are known, as keypoints with noise, outliers, gaps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from slimpose.formats import csv
from slimpose.motion.trajectory import Motion, MotionCollector, select
from slimpose.poses import Poses
from slimpose.runtime.foreign.skeletons import HALPE26
from slimpose.skeleton import COCO17, Skeleton

PX_PER_METER = 300.0
HEIGHT_M = 1.75
LENGTHS_M = {
    name: share * HEIGHT_M
    for name, share in {
        "trunk": 0.288,
        "thigh": 0.245,
        "shank": 0.246,
        "arm": 0.186,
        "forearm": 0.146,
        "head": 0.13,
    }.items()
}
"""Winter, figure 4.1."""
FOOT_M = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Walker:
    """A person who walks, with the degrees of every angle over time.

    Attributes:
        times_s: (n,) times.
        points: Keypoints in image pixels (n, 2), by their Halpe names.
        degrees: The true angles (n,).
    """

    times_s: np.ndarray
    points: dict[str, np.ndarray]
    degrees: dict[str, np.ndarray]


def walk(times_s: np.ndarray, *, to_left: bool = False, cadence_hz: float = 0.9) -> Walker:
    """Return a walker; the points follow from the angles, segment by segment."""
    phase = 2 * np.pi * cadence_hz * times_s
    sign = -1 if to_left else 1
    degrees: dict[str, np.ndarray] = {"trunk": 86 + 2 * np.sin(2 * phase)}
    hip = np.stack(
        [3 + sign * 1.2 * times_s, 1.0 + 0.02 * np.cos(2 * phase)], axis=1
    )  # meters, y up

    def end(start: np.ndarray, length_m: float, angle_deg: np.ndarray) -> np.ndarray:
        radians = np.radians(angle_deg)
        offset = np.stack([sign * np.cos(radians), np.sin(radians)], axis=1)
        return start + length_m * offset

    neck = end(hip, LENGTHS_M["trunk"], degrees["trunk"])
    points = {"hip": hip, "neck": neck, "head": end(neck, LENGTHS_M["head"], degrees["trunk"])}
    points["nose"] = end(neck, 0.16, degrees["trunk"] - 50)
    for number, side in enumerate(("right", "left")):
        own = phase + np.pi * number
        depth = 0.004 * (1 - 2 * number)
        points |= {f"{side}_hip": hip + depth, f"{side}_shoulder": neck + depth}
        points |= {f"{side}_ear": end(neck, 0.14, degrees["trunk"])}
        points |= {f"{side}_eye": end(neck, 0.16, degrees["trunk"] - 40)}
        true = {
            "hip": 12 + 22 * np.sin(own),
            "knee": 30 + 24 * np.sin(own - 1.2) - 8 * np.cos(2 * own),
            "ankle": 3 + 9 * np.sin(own - 0.6) + 5 * np.sin(2 * own),
            "shoulder": 4 - 20 * np.sin(own),
            "elbow": 35 - 12 * np.sin(own),
        }
        degrees |= {f"{side}_{name}": values for name, values in true.items()}
        thigh = degrees["trunk"] - 180 + true["hip"]
        shank = thigh - true["knee"]
        foot = shank + 90 + true["ankle"]
        arm = degrees["trunk"] - 180 + true["shoulder"]
        forearm = arm + true["elbow"]
        segments = {"thigh": thigh, "shank": shank, "foot": foot, "arm": arm, "forearm": forearm}
        degrees |= {f"{side}_{name}": values for name, values in segments.items()}
        knee = end(points[f"{side}_hip"], LENGTHS_M["thigh"], thigh)
        ankle = end(knee, LENGTHS_M["shank"], shank)
        heel = end(ankle, 0.07, shank)
        toe = end(heel, FOOT_M, foot)
        elbow = end(points[f"{side}_shoulder"], LENGTHS_M["arm"], arm)
        points |= {f"{side}_knee": knee, f"{side}_ankle": ankle, f"{side}_heel": heel}
        points |= {f"{side}_big_toe": toe, f"{side}_small_toe": toe, f"{side}_elbow": elbow}
        points |= {f"{side}_wrist": end(elbow, LENGTHS_M["forearm"], forearm)}
    pixels = {
        name: PX_PER_METER * np.stack([xy[:, 0], 2.2 - xy[:, 1]], axis=1)
        for name, xy in points.items()
    }
    return Walker(times_s=times_s, points=pixels, degrees=degrees)


def poses_over_time(
    walker: Walker,
    skeleton: Skeleton,
    *,
    noise_px: float = 0.0,
    outliers: float = 0.0,
    gaps: float = 0.0,
    seed: int = 0,
) -> list[Poses]:
    """Return the walker as poses with what a network does.

    Noise grows with the covariance, a share of keypoints is far away, and a share is missing in
    gaps of up to 6 frames, with low scores.
    """
    rng = np.random.default_rng(seed)
    points = np.stack([walker.points[joint] for joint in skeleton.joints], axis=1)
    shape = points.shape[:2]
    spread = np.where(rng.random(shape) < 0.15, 3.0, 1.0)
    noisy = points + noise_px * spread[..., None] * rng.standard_normal(points.shape)
    is_outlier = rng.random(shape) < outliers
    angle = rng.uniform(0, 2 * np.pi, shape)
    jump = rng.uniform(40, 150, shape)[..., None] * np.stack(
        [np.cos(angle), np.sin(angle)], axis=-1
    )
    noisy += is_outlier[..., None] * jump
    scores = np.full(shape, 0.8)
    for frame, joint in zip(*np.nonzero(rng.random(shape) < gaps / 3.5), strict=True):
        scores[frame : frame + rng.integers(1, 7), joint] = 0.05
    noisy[scores < 0.1] += 100 * rng.standard_normal((int((scores < 0.1).sum()), 2))
    covariances = np.eye(2) * (4.5 * spread[..., None, None]) ** 2
    boxes = np.concatenate([noisy.min(axis=1), noisy.max(axis=1)], axis=1)
    return [
        Poses(
            points_image=noisy[row : row + 1].astype(np.float32),
            scores=scores[row : row + 1].astype(np.float32),
            covariances_image=covariances[row : row + 1].astype(np.float32),
            boxes_image=boxes[row : row + 1].astype(np.float32),
            person_scores=np.full(1, 0.8, np.float32),
            ids=np.array([1]),
            skeleton=skeleton,
        )
        for row in range(len(noisy))
    ]


def write_csv(path: Path, poses: list[Poses], times_s: np.ndarray, source: str = "a.mp4") -> Path:
    """Write poses as ``predict --csv`` does."""
    rows = [
        csv.rows(one, source=source, camera=0, frame=frame, timestamp_s=float(time_s))
        for frame, (one, time_s) in enumerate(zip(poses, times_s, strict=True))
    ]
    path.write_bytes(csv.header() + b"".join(rows))
    return path


SKELETONS = {"coco17": COCO17, "halpe26": HALPE26}


def collect(poses: list[Poses], times_s: np.ndarray) -> Motion:
    """Return the only person of the poses as a motion."""
    collector = MotionCollector(poses[0].skeleton.joints)
    for one, time_s in zip(poses, times_s, strict=True):
        collector.add_poses("a.mp4", float(time_s), one)
    return select(collector.motions())
