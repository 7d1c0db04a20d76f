"""Accuracy of a pose model: crops to keypoint records, and their COCO AP."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from slimpose import geometry, heatmap
from slimpose.arrays import Crops, Heatmaps, Image, Points, Scores, Size
from slimpose.evaluate.boxes import ScoredBoxes
from slimpose.evaluate.coco_ap import average_precision
from slimpose.formats import coco, results
from slimpose.formats.coco import CocoFile
from slimpose.formats.coco_skeleton import with_sigmas_of
from slimpose.formats.files import read_json
from slimpose.media.annotated_image import read_annotated_image
from slimpose.oks import oks_nms
from slimpose.poses import Poses, person_scores
from slimpose.runtime.crops import crop_people
from slimpose.runtime.session import Model, ModelInfo
from slimpose.skeleton import Skeleton

PredictCrops = Callable[[Crops], tuple[Points, Scores]]
"""uint8 crops (n, H, W, 3) to points in crop pixels (n, J, 2) and scores (n, J)."""

MIN_BOX_SCORE = 0.05
"""Boxes that score less are ignored by default.

Their poses could add a tenth of a point of AP, for ten times the work.
"""

Decoding = Literal["dark", "quarter"]
"""DARK, or the method before it: the maximum's cell and a quarter cell to the higher neighbor."""


def crop_predictor(
    model: Model, *, flip: bool = False, flip_shift: bool = False, decoding: Decoding = "dark"
) -> PredictCrops:
    """Return a pose model as a function of crops, with options as in ``predict_from_heatmaps``.

    Raises:
        ValueError: If the options need heatmaps and the model outputs none.
    """
    if not flip and decoding == "dark":
        return predict_points(model)
    if "heatmaps" not in model.outputs:
        user = "the flip test averages" if flip else f"{decoding} decoding reads"
        raise ValueError(
            f"{model.info.name} outputs no heatmaps, which {user}; export it with --heatmaps"
        )
    return predict_from_heatmaps(
        lambda crops: model.run(crops, ("heatmaps",))[0],
        model.info.skeleton,
        stride=model.info.stride,
        flip=flip,
        flip_shift=flip_shift,
        decoding=decoding,
    )


def predict_points(model: Model) -> PredictCrops:
    """Return a pose model as a function of crops that returns the points of its own decoding."""

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
    """Return a function of crops that decodes the heatmaps of a model.

    ``stride`` is crop pixels per heatmap cell. ``flip`` averages the heatmaps with those of the
    mirrored crops, in which joints swap places as the skeleton defines.

    ``flip_shift`` first moves the mirrored maps one cell to the right, as the published protocol
    does. It is for nets whose maps have crop pixel x at cell x / stride: mirrored, such a map comes
    out 3/4 of a cell (at stride 4) too far left. In this project x is at (x - (stride - 1) / 2) /
    stride, which mirroring keeps, and the maps of imported checkpoints are converted to that: these
    need no shift, and lose accuracy by it.
    """
    if flip:
        predict_heatmaps = heatmap.flip_averaged(predict_heatmaps, skeleton, shift=flip_shift)

    def predict(crops: Crops) -> tuple[Points, Scores]:
        heatmaps = predict_heatmaps(crops)
        if decoding == "quarter":
            points, scores = quarter_decode(heatmaps)
        else:
            points, scores, _ = heatmap.decode(heatmaps)
        return geometry.heatmap_to_crop(points, stride), scores

    return predict


def quarter_decode(heatmaps: Heatmaps) -> tuple[Points, Scores]:
    """Return each map's maximum, moved a quarter cell to the higher neighbor along each axis.

    A maximum on the border of the map is not moved. The score is the value of the maximum.

    Source:
        Newell et al., "Stacked Hourglass Networks for Human Pose Estimation", ECCV 2016, section 3.
    """
    n, joints, height, width = heatmaps.shape
    flat = heatmaps.reshape(n, joints, height * width)
    peak = flat.argmax(axis=2)
    y, x = np.divmod(peak, width)
    inside = (x > 0) & (x < width - 1) & (y > 0) & (y < height - 1)

    def value(cell: np.ndarray) -> np.ndarray:
        return np.take_along_axis(flat, cell[..., None], axis=2)[..., 0]

    def offset(step: int) -> np.ndarray:
        after, before = (value(np.where(inside, peak + s, peak)) for s in (step, -step))
        return 0.25 * np.sign(after - before)

    points = np.stack([x + offset(1), y + offset(width)], axis=-1).astype(np.float32)
    return points, value(peak).clip(0, 1).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundTruth:
    """An annotation file; ``is_labeled`` is False for a list of images without annotations."""

    file: CocoFile
    is_labeled: bool


def read_ground_truth(annotations: Path, info: ModelInfo) -> GroundTruth:
    """Read an annotation file, or a list of images without annotations, for a pose model.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is invalid, or its joints are not those of the model.
    """
    document = read_json(annotations, kind="annotation file")
    if isinstance(document, dict) and "annotations" not in document:
        images = coco.parse_images(document, annotations)
        return GroundTruth(
            file=dataclasses.replace(images, skeleton=info.skeleton), is_labeled=False
        )
    truth = coco.parse(document, annotations, keypoints=True)
    if not truth.skeleton.has_same_joints(info.skeleton):
        raise ValueError(
            f"{annotations} has the joints {', '.join(truth.skeleton.joints)}; {info.name} outputs "
            f"{', '.join(info.skeleton.joints)}: expected the same, in the same order"
        )
    return GroundTruth(file=with_sigmas_of(truth, info.skeleton), is_labeled=True)


# Not Crops and Affines: images differ in their number of people, and a shape check of a batch would
# require the same n in all of them.
_ImageCrops = tuple[int, ScoredBoxes, np.ndarray, np.ndarray]
"""Image id, boxes, their crops, and the transforms from image to crop."""


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
    """Return a pose model's predictions for the given boxes as COCO keypoint result records.

    Person boxes are by image id. A pose whose OKS to a better pose of the image is higher than
    ``nms_oks_threshold`` is dropped; None keeps all poses. ``batch_size`` is the minimum number of
    crops per call of the model. ``on_progress`` is called with (people done, all people).

    Raises:
        ImageError: If an image is missing or broken.
        ValueError: If an image has another size than the file declares.
    """
    total, done = sum(len(found.scores) for found in boxes.values()), 0
    records: list[dict[str, Any]] = []
    batch: list[_ImageCrops] = []
    for number, (image_id, found) in enumerate(boxes.items(), start=1):
        image = read_annotated_image(annotations, image_folder, image_id)
        batch.append((image_id, found, *crop_people(image, found.boxes_image, crop_size)))
        done += len(found.scores)
        if number == len(boxes) or sum(len(crops) for _, _, crops, _ in batch) >= batch_size:
            records += _batch_records(annotations, batch, predict, nms_oks_threshold)
            batch = []
            on_progress(done, total)
    return records


def _batch_records(
    annotations: CocoFile,
    batch: Sequence[_ImageCrops],
    predict: PredictCrops,
    nms_oks_threshold: float | None,
) -> Iterator[dict[str, Any]]:
    points_crop, scores = predict(np.concatenate([crops for _, _, crops, _ in batch]))
    start = 0
    for image_id, found, crops, to_crop in batch:
        rows = slice(start, start + len(crops))
        start += len(crops)
        points = geometry.transform_points(geometry.invert_affines(to_crop), points_crop[rows])
        overall = person_scores(scores[rows], found.scores)
        kept = range(len(points))
        if nms_oks_threshold is not None:
            areas, skeleton = geometry.box_areas(found.boxes_image), annotations.skeleton
            kept = oks_nms(points, overall, areas, skeleton, threshold=nms_oks_threshold)
        for row in kept:
            triples = np.concatenate([points[row], scores[rows][row][:, None]], axis=1)
            yield {
                "image_id": image_id,
                "category_id": annotations.category_id,
                "keypoints": [round(float(value), 3) for value in triples.ravel()],
                "score": float(overall[row]),
            }


def image_records(
    annotations: CocoFile, image_folder: Path, estimate: Callable[[Image], Poses]
) -> list[dict[str, Any]]:
    """Return COCO keypoint result records of an estimator that finds the people of an image itself.

    Raises:
        ImageError: If an image is missing or broken.
        ValueError: If an image has another size than the file declares.
    """
    return [
        {"image_id": image_id, "category_id": annotations.category_id, **person}
        for image_id in annotations.images
        for person in results.people_as_json(
            estimate(read_annotated_image(annotations, image_folder, image_id))
        )
    ]


def pose_ap(annotations: CocoFile, records: list[dict[str, Any]]) -> dict[str, float]:
    """Return keypoint AP over all images of the file."""
    return average_precision(annotations, records, kind="keypoints")
