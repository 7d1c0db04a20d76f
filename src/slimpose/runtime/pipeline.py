"""The pipeline from an image to poses: detector, then pose model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from slimpose import geometry
from slimpose.media.images import check_image, read_image
from slimpose.poses import Poses
from slimpose.runtime import models
from slimpose.runtime.auto_backend import open_session
from slimpose.runtime.detector import Detector
from slimpose.runtime.estimator import PoseEstimator
from slimpose.runtime.one_stage import OneStageEstimator, without_boxes
from slimpose.runtime.session import Session
from slimpose.runtime.timing import StageTimes


class Pipeline:
    """A detector and a pose model: ``pipeline(image)`` returns ``Poses``."""

    def __init__(self, *, estimator: PoseEstimator, detector: Detector | None) -> None:
        self.estimator = estimator
        self.detector = detector

    def __call__(
        self, image: np.ndarray | str | Path, boxes_image: np.ndarray | None = None
    ) -> Poses:
        """Return the poses of the people in an image.

        Args:
            image: RGB uint8 (height, width, 3), or the path of an image file.
            boxes_image: The people's boxes (n, 4) as x1, y1, x2, y2; detected by default.

        Raises:
            ImageError: If the file cannot be read, or the array is not an RGB uint8 image.
            ValueError: If a box has no area or lies outside the image, or there is neither detector
                nor box.
        """
        return self.timed(image, boxes_image)[0]

    def timed(
        self,
        image: np.ndarray | str | Path,
        boxes_image: np.ndarray | None = None,
        box_scores: np.ndarray | None = None,
    ) -> tuple[Poses, dict[str, float]]:
        """Return the poses, and the time in milliseconds of the stages "detect" and "pose".

        ``box_scores`` (n,) are the scores of the given boxes, 1 by default.
        """
        pixels = read_image(image) if isinstance(image, str | Path) else image
        check_image(pixels)
        times = StageTimes()
        if boxes_image is not None and self.estimator.finds_people:
            raise ValueError(
                f"{self.estimator.session.info.name} finds people itself; expected no boxes_image"
            )
        if boxes_image is not None:
            boxes = np.asarray(boxes_image, np.float32)
            boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
            geometry.check_boxes_in_image(boxes, pixels)
            scores = np.asarray(
                np.ones(len(boxes)) if box_scores is None else box_scores, np.float32
            )
            if scores.shape != (len(boxes),):
                raise ValueError(
                    f"box scores have shape {scores.shape}; expected ({len(boxes)},), one per box"
                )
        elif self.estimator.finds_people:
            _, boxes, scores = without_boxes(pixels)
        elif self.detector is not None:
            boxes, scores = self.detector(pixels)
        else:
            raise ValueError("this pipeline has no detector; expected boxes_image")
        times.lap("detect")
        poses = self.estimator(pixels, boxes, scores)
        times.lap("pose")
        return poses, times.totals_ms()


def load(
    model: str | Path = models.DEFAULT_POSE,
    detector: str | Path | None = models.DEFAULT_DETECTOR,
    threads: int | None = None,
    score_threshold: float | None = None,
    *,
    backend: str = "onnxruntime",
    precision: str | None = None,
) -> Pipeline:
    """Open a pose model and a detector and return the pipeline of both.

    >>> import numpy as np
    >>> pipeline = load("mnv2", threads=1)
    >>> poses = pipeline(np.zeros((480, 640, 3), np.uint8))
    >>> poses.points_image.shape  # people, joints, x and y
    (0, 17, 2)

    Args:
        model: A shipped pose model's name, or a file of ``slimpose export`` or of another project
            (docs/models.md). A one-stage model needs no detector.
        detector: The same for the person detector; None if boxes will always be given.
        threads: CPU threads; None for the backend's choice.
        score_threshold: Lowest score of a person's box; None for the detector's own threshold.
        backend: A backend that ``slimpose doctor`` lists; "auto" for the fastest on this machine
            (a trial of two seconds per model, remembered).
        precision: The precision to compute in; None for the files' own, "bf16" or "fp16" where
            backend and processor have it, "any" to let backend "auto" choose.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a name is unknown, a file is not such a model, or a backend or precision is
            not available.
    """

    def open_model(name: str | Path) -> Session:
        return open_session(
            models.resolve(name), threads=threads, backend=backend, precision=precision
        )

    session = open_model(model)
    if session.info.task == "one-stage":
        if detector not in (None, models.DEFAULT_DETECTOR):
            raise ValueError(
                f"{session.info.name} finds people itself; expected no detector (got {detector})"
            )
        estimator = OneStageEstimator(session, score_threshold=score_threshold)
        return Pipeline(estimator=estimator, detector=None)
    return Pipeline(
        estimator=PoseEstimator(session),
        detector=(
            None
            if detector is None
            else Detector(open_model(detector), score_threshold=score_threshold)
        ),
    )
