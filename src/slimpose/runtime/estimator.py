"""Poses of people in known boxes: the crops of all images in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from slimpose import geometry
from slimpose.arrays import Affines, Boxes, Image, PersonScores
from slimpose.poses import NOT_TRACKED, Poses, person_scores
from slimpose.runtime.crops import crop_people
from slimpose.runtime.session import Model
from slimpose.tasks import Task

MAX_BATCH = 64
"""Crops of one call; larger batches are split, which bounds memory and costs no time."""
MAX_BATCH_CPU = 8
"""On a processor: 64 crops at once take some 10 % more time each, as their maps leave its cache."""
_GPU_BACKENDS = ("cuda", "tensorrt", "tensorrt-engine")

ImageBoxes = tuple[Image, Float32[np.ndarray, "_n 4"], Float32[np.ndarray, " _n"]]
"""An image, the boxes (x1, y1, x2, y2) of its people, and their scores; there may be no boxes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CropBatch:
    """The crops of several images in one batch, and per image what maps them back to it.

    Attributes:
        crops: uint8 (n, height, width, 3), the images' crops in sequence.
        to_crop: Affines from image to crop pixels.
        boxes_image: The boxes, in image pixels.
        box_scores: Their scores.
        score_thresholds: For models that find people themselves: the least score of a person's box
            for each image, None where it is the estimator's; empty if it is for all.
    """

    crops: UInt8[np.ndarray, "_all _height _width 3"]
    to_crop: list[Float32[np.ndarray, "_n 2 3"]]
    boxes_image: list[Float32[np.ndarray, "_n 4"]]
    box_scores: list[Float32[np.ndarray, " _n"]]
    score_thresholds: Sequence[float | None] = ()


class PoseEstimator:
    """A pose model that estimates the poses of people in boxes.

    Attributes:
        task: The task of its models.
        finds_people: Whether it finds people itself and ignores boxes.

    Raises:
        ValueError: If the session holds another kind of model.
    """

    task: Task = "pose"
    finds_people = False

    def __init__(self, session: Model) -> None:
        if session.info.task != self.task:
            raise ValueError(
                f"{session.info.name} is a {session.info.task} model; expected a {self.task} model"
            )
        self.session = session

    def __call__(
        self, image: Image, boxes_image: Boxes, box_scores: PersonScores | None = None
    ) -> Poses:
        """Return the poses of one image's boxes, with box scores of 1 by default."""
        scores = np.ones(len(boxes_image), np.float32) if box_scores is None else box_scores
        return self.estimate_many([(image, boxes_image, scores)])[0]

    def estimate_many(self, images: Sequence[ImageBoxes]) -> list[Poses]:
        """Return one ``Poses`` per image, all crops computed in one batch.

        Raises:
            ValueError: If a box has no area.
        """
        return self.estimate_crops(self.crop(images))

    def crop(self, images: Sequence[ImageBoxes]) -> CropBatch:
        """Return the crops of all boxes of all images, the first step of ``estimate_many``.

        Raises:
            ValueError: If a box has no area.
        """
        size = self.session.info.size
        crops = np.empty((sum(len(boxes) for _, boxes, _ in images), *size, 3), np.uint8)
        to_crop: list[Affines] = []
        start = 0
        for image, boxes, _ in images:
            to_crop.append(
                crop_people(image, boxes, size, out=crops[start : start + len(boxes)])[1]
            )
            start += len(boxes)
        return CropBatch(
            crops=crops,
            to_crop=to_crop,
            boxes_image=[boxes for _, boxes, _ in images],
            box_scores=[scores for _, _, scores in images],
        )

    def estimate_crops(self, batch: CropBatch) -> list[Poses]:
        """Run the model on crops and return one ``Poses`` per image: the second step."""
        skeleton = self.session.info.skeleton
        if len(batch.crops) == 0:
            return [Poses.empty(skeleton) for _ in batch.to_crop]
        is_gpu = getattr(self.session, "backend", "") in _GPU_BACKENDS
        size = MAX_BATCH if is_gpu else MAX_BATCH_CPU
        parts = [
            self.session.run(batch.crops[start : start + size], ("points", "scores", "covariances"))
            for start in range(0, len(batch.crops), size)
        ]
        points, scores, covariances = (
            np.concatenate(output) for output in zip(*parts, strict=True)
        )
        poses: list[Poses] = []
        start = 0
        for to_crop, boxes, box_scores in zip(
            batch.to_crop, batch.boxes_image, batch.box_scores, strict=True
        ):
            rows = slice(start, start + len(boxes))
            start += len(boxes)
            to_image = geometry.invert_affines(to_crop)
            poses.append(
                Poses(
                    points_image=geometry.transform_points(to_image, points[rows]),
                    scores=scores[rows],
                    covariances_image=geometry.transform_covariances(to_image, covariances[rows]),
                    boxes_image=boxes,
                    person_scores=person_scores(scores[rows], box_scores),
                    ids=np.full(len(boxes), NOT_TRACKED, np.int64),
                    skeleton=skeleton,
                )
            )
        return poses
