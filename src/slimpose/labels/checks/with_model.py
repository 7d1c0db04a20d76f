"""What a pose model predicts in the labeled boxes, and the labels that it contradicts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from slimpose.formats.coco import CocoFile
from slimpose.formats.coco_document import box_around
from slimpose.labels.checks.findings import Finding
from slimpose.labels.checks.pose_arrays import PoseArrays, by_image
from slimpose.labels.mirrored import mirrored_points
from slimpose.media.annotated_image import read_annotated_image
from slimpose.runtime.estimator import PoseEstimator

_SURE_SCORE = 0.6
_FAR_SHARE = 0.25
"""Distance of a label from a prediction, as a share of the size, from which they contradict."""
_NARROW_SHARE = 0.06
"""Width of a sure prediction's peak, as a share of the size."""


@dataclass(frozen=True)
class Predictions:
    """A model's joints of every instance: points in image pixels, scores, widths of the peaks.

    ``mirrored_points`` and ``mirrored_scores`` are its second opinion, of the mirrored image.
    """

    points: Float64[np.ndarray, "n joints 2"]
    scores: Float64[np.ndarray, "n joints"]
    widths_px: Float64[np.ndarray, "n joints"]
    mirrored_points: Float64[np.ndarray, "n joints 2"]
    mirrored_scores: Float64[np.ndarray, "n joints"]

    def of_rows(self, rows: Sequence[int]) -> Predictions:
        """Return the predictions of these instances."""
        return Predictions(
            **{
                field.name: getattr(self, field.name)[list(rows)]
                for field in dataclasses.fields(self)
            }
        )


def predict(
    poses: PoseArrays,
    file: CocoFile,
    folder: Path,
    estimator: PoseEstimator,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Predictions:
    """Run a model on the box of every instance, in the image and in the mirrored one.

    Raises:
        ValueError: If the model's joints are others than the file's.
        ImageError: If an image is missing or broken.
    """
    info = estimator.session.info
    if info.skeleton.joints != file.skeleton.joints:
        raise ValueError(
            f"{file.path} has the joints {', '.join(file.skeleton.joints)}; {info.name} outputs "
            f"{', '.join(info.skeleton.joints)}: expected the same, in the same order"
        )
    shape = poses.visibility.shape
    points, scores = np.zeros((*shape, 2)), np.zeros(shape)
    widths, mirrored, mirrored_scores = np.full(shape, np.inf), points.copy(), scores.copy()
    images = by_image(poses.people)
    for done, (image_id, rows) in enumerate(images.items(), start=1):
        image = read_annotated_image(file, folder, image_id)
        boxes = np.stack([_box(poses, row, image.shape) for row in rows]).astype(np.float32)
        found = estimator(image, boxes)
        points[rows], scores[rows] = found.points_image, found.scores
        determinants = np.linalg.det(found.covariances_image.astype(np.float64))
        widths[rows] = np.maximum(determinants, 0) ** 0.25
        mirrored[rows], mirrored_scores[rows] = mirrored_points(image, boxes, estimator)
        on_progress(done, len(images))
    return Predictions(points, scores, widths, mirrored, mirrored_scores)


def _box(poses: PoseArrays, row: int, shape: tuple[int, ...]) -> np.ndarray:
    """The labeled box, extended to the labeled joints, so that no crop hides what is labeled."""
    keypoints = np.concatenate([poses.points[row], poses.visibility[row][:, None]], axis=1)
    around = box_around(keypoints, width=shape[1], height=shape[0])
    box = poses.boxes[row]
    if around is None:
        return box
    x, y, width, height = around
    low, high = (
        poses.points[row, poses.labeled[row]].min(0),
        poses.points[row, poses.labeled[row]].max(0),
    )
    if (low < box[:2] - 0.5 * width).any() or (high > box[2:] + 0.5 * width).any():
        return box  # joints far outside are likely wrong themselves
    return np.array(
        [min(box[0], x), min(box[1], y), max(box[2], x + width), max(box[3], y + height)]
    )


def check_disagreement(poses: PoseArrays, predictions: Predictions) -> list[Finding]:
    """Find labels far from predictions that are sure: a high score and a narrow peak."""
    size = poses.sizes_px[:, None]
    distance = np.linalg.norm(poses.points - predictions.points, axis=2) / size
    sure = predictions.scores >= _SURE_SCORE
    sure &= predictions.widths_px < _NARROW_SHARE * size
    wrong = poses.labeled & sure & (distance > _FAR_SHARE)
    findings = []
    for row in np.flatnonzero(wrong.any(axis=1)):
        joints = np.flatnonzero(wrong[row])
        surest = float(predictions.scores[row, joints].max())
        text = f"{len(joints)} joints are labeled elsewhere than a model finds them with a score "
        text += f"of up to {surest:.2f}"
        findings.append(
            Finding(
                kind="model disagrees",
                text=text,
                image_id=poses.people[row].image_id,
                annotation_id=poses.people[row].id,
                joints=tuple(joints.tolist()),
                suspicion=0.4 + 0.5 * surest * min(1.0, len(joints) / 3),
            )
        )
    return findings
