"""Pose AP of anything that turns crops into points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from slimpose import geometry, heatmap
from slimpose.arrays import Crops, Heatmaps, Points, Scores, Size
from slimpose.evaluate.boxes import PeopleBoxes
from slimpose.evaluate.coco_ap import average_precision
from slimpose.formats.coco import CocoFile
from slimpose.oks import oks_nms
from slimpose.poses import person_scores
from slimpose.runtime.crops import cut_crops
from slimpose.runtime.images import read_image
from slimpose.skeleton import Skeleton

PredictCrops = Callable[[Crops], tuple[Points, Scores]]
"""uint8 crops (n, H, W, 3) to points in crop pixels (n, J, 2) and scores (n, J)."""


def by_heatmaps(
    heatmaps_of: Callable[[Crops], Heatmaps], skeleton: Skeleton, *, stride: int, flip: bool
) -> PredictCrops:
    """Return the model that decodes heatmaps with DARK; ``flip`` averages them with the mirrored crops'."""

    def predict(crops: Crops) -> tuple[Points, Scores]:
        heatmaps = heatmaps_of(crops)
        if flip:
            mirrored = heatmaps_of(np.ascontiguousarray(crops[:, :, ::-1]))
            heatmaps = (heatmaps + mirrored[:, skeleton.flip_indices, :, ::-1]) / 2
        decoded = heatmap.decode(heatmaps)
        return geometry.heatmap_to_crop(decoded.points_heatmap, stride), decoded.scores

    return predict


def pose_records(
    annotations: CocoFile,
    image_folder: Path,
    boxes: dict[int, PeopleBoxes],
    predict: PredictCrops,
    *,
    crop_size: Size,
    nms_oks: float | None = None,
    batch: int = 32,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Return COCO keypoint result records for the given boxes.

    Args:
        annotations: Names the images.
        image_folder: Where they are.
        boxes: Image id to boxes.
        predict: The model.
        crop_size: The model's input size.
        nms_oks: Drop a pose that is this similar (OKS) to a better one of the image; None keeps all.
        batch: Crops a call.
        on_progress: Told (people done, people in all).

    Raises:
        ImageError: If a picture is missing or broken.
    """
    total = sum(len(found.scores) for found in boxes.values())
    records: list[dict[str, Any]] = []
    waiting: list[tuple[int, PeopleBoxes, Crops, np.ndarray]] = []

    def flush() -> None:
        points_crop, scores = predict(np.concatenate([crops for _, _, crops, _ in waiting]))
        start = 0
        for image_id, found, crops, affines in waiting:
            rows = slice(start, start + len(crops))
            start += len(crops)
            points = geometry.transform_points(geometry.invert_affines(affines), points_crop[rows])
            overall = person_scores(scores[rows], found.scores)
            kept = range(len(points))
            if nms_oks is not None:
                areas = geometry.box_areas(found.boxes_image)
                kept = oks_nms(points, overall, areas, annotations.skeleton, threshold=nms_oks)
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
        crops, affines = cut_crops(image, found.boxes_image, crop_size)
        waiting.append((image_id, found, crops, affines))
        done += len(crops)
        if sum(len(crops) for _, _, crops, _ in waiting) >= batch:
            flush()
    if waiting:
        flush()
    return records


def pose_ap(annotations: CocoFile, records: list[dict[str, Any]]) -> dict[str, float]:
    """Return keypoint AP over all images of the file."""
    return average_precision(annotations, records, kind="keypoints")
