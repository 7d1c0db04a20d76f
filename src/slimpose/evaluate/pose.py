"""Pose AP of anything that turns crops into points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from slimpose import geometry, heatmap
from slimpose.arrays import Crops, Heatmaps, Image, Points, Scores, Size
from slimpose.evaluate.boxes import ScoredBoxes
from slimpose.evaluate.coco_ap import average_precision
from slimpose.formats import results
from slimpose.formats.coco import CocoFile
from slimpose.media.images import read_image
from slimpose.oks import oks_nms
from slimpose.poses import Poses, person_scores
from slimpose.runtime.crops import crop_people
from slimpose.runtime.session import Model
from slimpose.skeleton import Skeleton

PredictCrops = Callable[[Crops], tuple[Points, Scores]]
"""uint8 crops (n, H, W, 3) to points in crop pixels (n, J, 2) and scores (n, J)."""


Decoding = Literal["dark", "quarter"]
"""DARK, or what it replaced: the maximum's cell, a quarter cell towards its higher neighbor."""


def predict_points(model: Model) -> PredictCrops:
    """Return a pose model as what ``pose_records`` looks with: its own points."""

    def predict(crops: Crops) -> tuple[Points, Scores]:
        points, scores = model.run(crops, ("points", "scores"))
        return points, scores

    return predict


def predict_from_heatmaps(
    predict_heatmaps: Callable[[Crops], Heatmaps],
    skeleton: Skeleton,
    *,
    stride: int,
    flip: bool,
    flip_shift: bool = False,
    decoding: Decoding = "dark",
) -> PredictCrops:
    """Return the model that decodes heatmaps.

    Args:
        heatmaps_of: The model.
        skeleton: Says which joints change places in a mirror.
        stride: Crop pixels a heatmap cell.
        flip: Average the heatmaps with those of the mirrored crops.
        flip_shift: First move the mirrored maps one cell to the right, as the published protocol
            does. It is for nets whose maps put crop pixel x at cell x / stride: mirrored, such a
            map comes out 3/4 of a cell (at stride 4) too far left. Here x is at (x - (stride - 1) /
            2) / stride, which a mirror keeps, and imported checkpoints' maps are brought there:
            these need no shift, and lose by it.
        decoding: How a map becomes a point.
    """
    look = heatmap.flip_averaged(predict_heatmaps, skeleton, shift=flip_shift) if flip else predict_heatmaps

    def predict(crops: Crops) -> tuple[Points, Scores]:
        heatmaps = look(crops)
        if decoding == "quarter":
            points, scores = quarter_decode(heatmaps)
        else:
            points, scores, _ = heatmap.decode(heatmaps)
        return geometry.heatmap_to_crop(points, stride), scores

    return predict


def quarter_decode(heatmaps: Heatmaps) -> tuple[Points, Scores]:
    """Return each map's maximum, a quarter cell towards the higher neighbor along each axis, and its value.

    On the map's border the maximum stays.

    Source:
        Newell et al., "Stacked Hourglass Networks for Human Pose Estimation", ECCV 2016, section 3.
    """
    n, joints, height, width = heatmaps.shape
    flat = heatmaps.reshape(n, joints, height * width)
    place = flat.argmax(axis=2)
    y, x = np.divmod(place, width)
    inside = (x > 0) & (x < width - 1) & (y > 0) & (y < height - 1)

    def towards(step: int) -> np.ndarray:
        after = np.take_along_axis(flat, np.where(inside, place + step, place)[..., None], axis=2)[
            ..., 0
        ]
        before = np.take_along_axis(flat, np.where(inside, place - step, place)[..., None], axis=2)[
            ..., 0
        ]
        return 0.25 * np.sign(after - before)

    points = np.stack([x + towards(1), y + towards(width)], axis=-1).astype(np.float32)
    scores = np.take_along_axis(flat, place[..., None], axis=2)[..., 0].clip(0, 1)
    return points, scores.astype(np.float32)


def pose_records(
    annotations: CocoFile,
    image_folder: Path,
    boxes: dict[int, ScoredBoxes],
    predict: PredictCrops,
    *,
    crop_size: Size,
    nms_oks_threshold: float | None = None,
    batch_size: int = 32,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Return COCO keypoint result records for the given boxes.

    Args:
        annotations: Names the images.
        image_folder: Where they are.
        boxes: Image id to boxes.
        predict: The model.
        crop_size: The model's input size.
        nms_oks: Drop a pose that is this similar (OKS) to a better one of the image; None keeps
            all.
        batch: Crops a call.
        on_progress: Told (people done, people in all).

    Raises:
        ImageError: If a picture is missing or broken.
    """
    total = sum(len(found.scores) for found in boxes.values())
    records: list[dict[str, Any]] = []
    waiting: list[tuple[int, ScoredBoxes, Crops, np.ndarray]] = []

    def flush() -> None:
        points_crop, scores = predict(np.concatenate([crops for _, _, crops, _ in waiting]))
        start = 0
        for image_id, found, crops, affines in waiting:
            rows = slice(start, start + len(crops))
            start += len(crops)
            points = geometry.transform_points(geometry.invert_affines(affines), points_crop[rows])
            overall = person_scores(scores[rows], found.scores)
            kept = range(len(points))
            if nms_oks_threshold is not None:
                areas = geometry.box_areas(found.boxes_image)
                kept = oks_nms(points, overall, areas, annotations.skeleton, threshold=nms_oks_threshold)
            for row in kept:
                triples = np.concatenate([points[row], scores[rows][row][:, None]], axis=1)
                records.append(
                    {
                        "image_id": image_id,
                        "category_id": annotations.category_id,
                        "keypoints": [round(float(value), 3) for value in triples.ravel()],
                        "score": float(overall[row]),
                    }
                )
        waiting.clear()
        on_progress(done, total)

    done = 0
    for image_id, found in boxes.items():
        image = read_image(image_folder / annotations.images[image_id].file_name)
        crops, affines = crop_people(image, found.boxes_image, crop_size)
        waiting.append((image_id, found, crops, affines))
        done += len(crops)
        if sum(len(crops) for _, _, crops, _ in waiting) >= batch_size:
            flush()
    if waiting:
        flush()
    return records


def image_records(
    annotations: CocoFile, image_folder: Path, people_of: Callable[[Image], Poses]
) -> list[dict[str, Any]]:
    """Return COCO keypoint result records of whatever finds the people of whole RGB images itself.

    Raises:
        ImageError: If a picture is missing or broken.
    """
    return [
        {"image_id": image_id, "category_id": annotations.category_id, **person}
        for image_id, image in annotations.images.items()
        for person in results.people(people_of(read_image(image_folder / image.file_name)))
    ]


def pose_ap(annotations: CocoFile, records: list[dict[str, Any]]) -> dict[str, float]:
    """Return keypoint AP over all images of the file."""
    return average_precision(annotations, records, kind="keypoints")
