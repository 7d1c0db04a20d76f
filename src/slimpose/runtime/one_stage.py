"""Poses of the people of whole images by one network, without boxes and crops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slimpose import geometry
from slimpose.arrays import Boxes, Image, PersonScores
from slimpose.poses import NOT_TRACKED, Poses, person_scores
from slimpose.runtime.crops import fit_canvas
from slimpose.runtime.detector import check_score_threshold, select_boxes
from slimpose.runtime.estimator import CropBatch, ImageBoxes, PoseEstimator
from slimpose.runtime.session import Model
from slimpose.tasks import Task

_MAX_BATCH = 8
"""Images of one call."""


class OneStageEstimator(PoseEstimator):
    """A model that finds people and their joints in one pass, in place of two models.

    Its "crops" are whole images fitted into the model's input, those of all cameras in one batch.

    Raises:
        ValueError: If the session holds another kind of model, or the threshold is not in 0..1.
    """

    task: Task = "one-stage"
    finds_people = True

    def __init__(self, session: Model, *, score_threshold: float | None = None) -> None:
        super().__init__(session)
        self.score_threshold = check_score_threshold(score_threshold, session.info)

    def __call__(
        self,
        image: Image,
        boxes_image: Boxes | None = None,
        box_scores: PersonScores | None = None,
    ) -> Poses:
        """Return the poses of an image's people.

        Raises:
            ValueError: If boxes are given, which the model finds itself.
        """
        if any(given is not None and len(given) for given in (boxes_image, box_scores)):
            raise ValueError(f"{self.session.info.name} finds people itself; expected no boxes")
        return self.estimate_many([without_boxes(image)])[0]

    def crop(self, images: Sequence[ImageBoxes]) -> CropBatch:
        """Return the images fitted into the model's input; their boxes are ignored."""
        info = self.session.info
        fitted = [fit_canvas(image, info.size, info.fit) for image, _, _ in images]
        empty = np.zeros((0, *info.size, 3), np.uint8)
        return CropBatch(
            crops=np.stack([canvas for canvas, _ in fitted]) if fitted else empty,
            to_crop=[to_canvas for _, to_canvas in fitted],
            boxes_image=[
                np.array([[0, 0, *image.shape[1::-1]]], np.float32) for image, *_ in images
            ],
            box_scores=[np.ones(1, np.float32) for _ in images],
        )

    def estimate_crops(self, batch: CropBatch) -> list[Poses]:
        """Run the model on images and return the ``Poses`` of each."""
        info = self.session.info
        poses: list[Poses] = []
        for start in range(0, len(batch.crops), _MAX_BATCH):
            outputs = self.session.run(
                batch.crops[start : start + _MAX_BATCH], ("boxes", "box_scores", "points", "scores")
            )
            for row, (boxes, box_scores, points, scores) in enumerate(zip(*outputs, strict=True)):
                to_canvas, frame = batch.to_crop[start + row], batch.boxes_image[start + row]
                own = batch.score_thresholds[start + row] if batch.score_thresholds else None
                selected, boxes_image = select_boxes(
                    boxes,
                    box_scores,
                    to_canvas,
                    frame[0, 2:],
                    threshold=self.score_threshold if own is None else own,
                    iou_threshold=info.nms_iou_threshold,
                )
                poses.append(
                    self._poses(
                        boxes_image,
                        box_scores[selected],
                        points[selected],
                        scores[selected],
                        to_canvas,
                    )
                )
        return poses

    def _poses(
        self,
        boxes_image: np.ndarray,
        box_scores: np.ndarray,
        points: np.ndarray,
        scores: np.ndarray,
        to_canvas: np.ndarray,
    ) -> Poses:
        to_image = np.repeat(geometry.invert_affines(to_canvas), len(points), axis=0)
        pixel = np.eye(2, dtype=np.float32) / 12  # a point anywhere in a pixel of the input
        covariances = np.broadcast_to(pixel, (*points.shape[:2], 2, 2)).astype(np.float32)
        return Poses(
            points_image=geometry.transform_points(to_image, points).astype(np.float32),
            scores=scores,
            covariances_image=geometry.transform_covariances(to_image, covariances),
            boxes_image=boxes_image,
            person_scores=person_scores(scores, box_scores),
            ids=np.full(len(points), NOT_TRACKED, np.int64),
            skeleton=self.session.info.skeleton,
        )


def without_boxes(image: Image) -> ImageBoxes:
    """Return an image for a model that finds the people itself."""
    return image, np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
