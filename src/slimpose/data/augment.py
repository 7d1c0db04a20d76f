"""Augmentation: one affine for all geometric changes, then color jitter, then random erasing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import cv2
import numpy as np
from jaxtyping import Float32

from slimpose import geometry
from slimpose.arrays import Image, Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How strongly training samples are changed; a value of 0 turns that change off.

    Attributes:
        flip: Probability of a horizontal flip.
        scale: Largest relative change of the person's size, both ways.
        rotation_deg: Largest rotation, both ways (pose only).
        rotate: Probability of a rotation (pose only).
        gaussian: Draw scale and rotation from normal distributions with the above as standard
            deviations, clipped at one and at two of them, as the SimpleBaseline, HRNet and DARK
            repositories do; otherwise uniformly (pose only).
        shift: Largest shift as a share of the box, both ways. For the detector four times this
            share of the free canvas is used when an image is placed.
        half_body: Probability of a crop of only the upper or the lower body, if the skeleton has
            an upper body and at least 3 of its joints are labeled (pose only).
        color_jitter: Largest relative change of brightness, of contrast and of each color channel.
        grayscale: Probability of a gray image.
        blur: Probability of a Gaussian blur.
        random_erase: Probability of an ellipse or rectangle over part of the person, filled with
            one color or (half the time, if another crop is available) with part of another
            person's crop (pose only).
        truncate: Probability that the image ends inside the person's box, as it does for a quarter
            of COCO's people (pose only).
        low_resolution: Probability of a crop that has been shrunk, to a quarter at least, and
            enlarged again, as the crops of small people are (pose only). A teacher that runs on
            every crop sees it as it was.
        mixup: Probability of two people's crops in one, blended or side by side (pose only). Only
            a teacher that runs on every crop can label it, so it is turned off without one.
        mosaic: Probability of four images side by side (detector only).
    """

    flip: float = 0.5
    scale: float = 0.3
    rotation_deg: float = 40.0
    rotate: float = 0.6
    gaussian: bool = False
    shift: float = 0.08
    half_body: float = 0.2
    color_jitter: float = 0.25
    grayscale: float = 0.05
    blur: float = 0.05
    random_erase: float = 0.3
    truncate: float = 0.0
    low_resolution: float = 0.0
    mixup: float = 0.0
    mosaic: float = 0.0

    def scaled(self, factor: float) -> Augmentation:
        """Return a copy with all strengths multiplied by ``factor``, except flips and ``rotate``.

        >>> Augmentation(scale=0.5).scaled(0.5).scale
        0.25
        """
        kept = ("flip", "rotate", "gaussian")
        names = [field.name for field in dataclasses.fields(self) if field.name not in kept]
        return dataclasses.replace(self, **{name: getattr(self, name) * factor for name in names})


def sample_affine(
    rng: np.random.Generator,
    augmentation: Augmentation,
    *,
    box: Float32[np.ndarray, "4"],
    points: Float32[np.ndarray, "joints 2"],
    labeled: np.ndarray,
    upper_body: np.ndarray,
    crop_size: Size,
) -> tuple[Float32[np.ndarray, "2 3"], bool]:
    """Draw the affine from stored pixels to crop pixels, and whether it flips the image.

    The number of random draws does not depend on the settings, so that a seed's samples stay
    comparable.
    """
    draws = rng.random(8)
    if draws[0] < augmentation.half_body and upper_body.any() and not upper_body.all():
        part = labeled & (upper_body if draws[1] < 0.6 else ~upper_body)
        if part.sum() >= 3:
            low, high = points[part].min(axis=0), points[part].max(axis=0)
            margin = 0.15 * (high - low).max() + 1
            box = np.concatenate([low - margin, high + margin]).astype(np.float32)
    base = geometry.crop_affines(box[None], crop_size)[0].astype(np.float64)
    scale_draw, angle_draw = (
        _normal(draws[i], limit) if augmentation.gaussian else 2 * draws[i] - 1
        for i, limit in ((2, 1.0), (4, 2.0))
    )
    scale = 1 + augmentation.scale * scale_draw
    rotates = draws[3] < augmentation.rotate
    angle = np.deg2rad(augmentation.rotation_deg) * angle_draw if rotates else 0.0
    extent = (box[2:] - box[:2]) * base[0, 0]
    shift = augmentation.shift * (2 * draws[5:7] - 1) * extent
    is_flipped = bool(draws[7] < augmentation.flip)
    center = np.array([(crop_size.width - 1) / 2, (crop_size.height - 1) / 2])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ base[:, :2]
    offset = turn @ (base[:, 2] - center) + center + shift
    if is_flipped:
        linear[0] *= -1
        offset[0] = crop_size.width - 1 - offset[0]
    return np.concatenate([linear, offset[:, None]], axis=1).astype(np.float32), is_flipped


def _normal(draw: float, limit: float) -> float:
    """Turn a uniform draw of 0..1 into a standard normal one, clipped at ``limit``."""
    return min(limit, max(-limit, NormalDist().inv_cdf(min(max(draw, 1e-9), 1 - 1e-9))))


def jitter_color(rng: np.random.Generator, augmentation: Augmentation, crop: Image) -> Image:
    """Change brightness, contrast and color; sometimes convert to gray, sometimes blur."""
    draws = rng.random(8)
    if draws[0] < augmentation.grayscale:
        crop = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if augmentation.color_jitter:
        contrast, brightness = 1 + augmentation.color_jitter * (2 * draws[1:3] - 1)
        color = 1 + 0.5 * augmentation.color_jitter * (2 * draws[3:6] - 1)
        levels = np.arange(256, dtype=np.float32)[:, None]
        table = ((levels - 128) * contrast + 128) * brightness * color
        crop = cv2.LUT(crop, table.clip(0, 255).astype(np.uint8)[:, None, :])
    if draws[6] < augmentation.blur:
        crop = cv2.GaussianBlur(crop, (0, 0), 0.5 + 1.5 * draws[7])
    return crop


def lower_resolution(rng: np.random.Generator, augmentation: Augmentation, crop: Image) -> Image:
    """Shrink a crop to between a quarter and all of its size, and enlarge it again."""
    draws = rng.random(2)
    if draws[0] >= augmentation.low_resolution:
        return crop
    height, width = crop.shape[:2]
    share = 4.0 ** -draws[1]
    small = max(1, round(share * width)), max(1, round(share * height))
    shrunk = cv2.resize(crop, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)


def random_erase(
    rng: np.random.Generator, augmentation: Augmentation, crop: Image, others: Sequence[Image] = ()
) -> Image:
    """Cover an ellipse or rectangle with one color, or with part of one of ``others``."""
    draws = rng.random(9)
    if draws[0] >= augmentation.random_erase:
        return crop
    height, width = crop.shape[:2]
    center = int(draws[1] * width), int(draws[2] * height)
    axes = int((0.06 + 0.16 * draws[3]) * width), int((0.06 + 0.16 * draws[4]) * width)
    color = tuple(int(level) for level in rng.integers(0, 256, 3))
    crop = crop.copy()
    pastes = len(others) > 0 and draws[7] < 0.5
    canvas, fill = (np.zeros((height, width), np.uint8), (1,)) if pastes else (crop, color)
    if draws[5] < 0.5:
        cv2.ellipse(canvas, center, axes, 180 * draws[6], 0, 360, fill, thickness=-1)
    else:
        low = center[0] - axes[0], center[1] - axes[1]
        high = center[0] + axes[0], center[1] + axes[1]
        cv2.rectangle(canvas, low, high, fill, thickness=-1)
    if pastes:
        cv2.copyTo(cv2.resize(others[int(draws[8] * len(others))], (width, height)), canvas, crop)
    return crop


def mix_up(rng: np.random.Generator, crop: Image, other: Image) -> Image:
    """Combine two crops of one size: half the time blended, else split along a central line.

    A student cannot memorize the teacher's output for it, since it is hardly ever drawn twice.

    Source:
        Beyer et al., "Knowledge distillation: a good teacher is patient and consistent", CVPR 2022,
        section 3 (mixup); Yun et al., "CutMix", ICCV 2019 (side by side, there a rectangle).
    """
    draws = rng.random(4)
    if draws[0] < 0.5:
        share = float(draws[1])
        return cv2.addWeighted(crop, share, other, 1 - share, 0.0)
    height, width = crop.shape[:2]
    angle = 2 * np.pi * draws[1]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    center = (0.25 + 0.5 * draws[2]) * width, (0.25 + 0.5 * draws[3]) * height
    is_other = (x - center[0]) * np.cos(angle) + (y - center[1]) * np.sin(angle) > 0
    return np.where(is_other[..., None], other, crop)


def truncate_image(
    rng: np.random.Generator, augmentation: Augmentation, box: Float32[np.ndarray, "4"], size: Size
) -> Float32[np.ndarray, "4"]:
    """Draw the part x1, y1, x2, y2 of the image to keep: all, or up to a line through the box.

    The image ends below the line half of the time; 0.35 to 0.9 of the box is kept.
    """
    draws = rng.random(3)
    kept = np.array([0, 0, size.width, size.height], np.float32)
    if draws[0] >= augmentation.truncate:
        return kept
    share = np.float32(0.35 + 0.55 * draws[2])
    # 0 to 3: the image ends at the bottom, right, left, top.
    side = int(np.searchsorted([0.5, 0.7, 0.9], draws[1], side="right"))
    edge, other = ((3, 1), (2, 0), (0, 2), (1, 3))[side]
    line = np.round(box[other] + share * (box[edge] - box[other]))
    limits = (4, size.width - 4) if edge % 2 == 0 else (4, size.height - 4)
    kept[edge] = line if limits[0] < line < limits[1] else kept[edge]
    return kept
