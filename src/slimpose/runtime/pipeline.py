"""The pipeline from an image to poses: detector, then pose model."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import numpy as np

from slimpose import geometry
from slimpose.arrays import Image
from slimpose.interpreter_end import finished_at_exit
from slimpose.media.image_inputs import Color, ImageInput, load_image
from slimpose.messages import printable, quoted
from slimpose.poses import Poses
from slimpose.runtime import models
from slimpose.runtime.auto_backend import open_session
from slimpose.runtime.detector import Detector
from slimpose.runtime.estimator import ImageBoxes, PoseEstimator
from slimpose.runtime.image_lists import ImagesError, estimate_list
from slimpose.runtime.one_stage import OneStageEstimator, without_boxes
from slimpose.runtime.people_limits import ALL_PEOPLE, PeopleLimits, largest_people
from slimpose.runtime.preview import ImagePreview
from slimpose.runtime.session import Session
from slimpose.runtime.tiles import Tiles, new_detector
from slimpose.runtime.timing import StageTimes

_Item = TypeVar("_Item", bound=ImageInput)
_log = logging.getLogger(__name__)


class Pipeline:
    """A detector and a pose model: ``pipeline(image)`` returns ``Poses``.

    It can be pickled and used in forked processes: the models are opened again there.

    Attributes:
        estimator: The pose model.
        detector: The person detector; None if there is none.
        limits: Which people are kept; ``conf`` is also in the detector. People in given boxes are
            kept always.

    Raises:
        ValueError: If ``tiles`` is neither "off" nor "auto", or there is no detector for them.
    """

    def __init__(
        self,
        *,
        estimator: PoseEstimator,
        detector: Detector | None,
        limits: PeopleLimits = ALL_PEOPLE,
        tiles: Tiles = "off",
    ) -> None:
        if tiles != "off":
            detector = _with_tiles(detector, tiles, estimator)
        self.estimator = estimator
        self.detector = detector
        self.limits = limits
        self._newest_image: Image | None = None  # for the preview, in notebooks

    @overload
    def __call__(
        self,
        image: list[_Item] | tuple[_Item, ...],
        boxes_image: Sequence[np.ndarray] | None = None,
        *,
        color: Color = "rgb",
        on_error: Literal["raise"] = "raise",
    ) -> list[Poses]: ...
    @overload
    def __call__(
        self,
        image: list[_Item] | tuple[_Item, ...],
        boxes_image: Sequence[np.ndarray] | None = None,
        *,
        color: Color = "rgb",
        on_error: Literal["none"],
    ) -> list[Poses | None]: ...
    @overload
    def __call__(
        self,
        image: ImageInput,
        boxes_image: np.ndarray | None = None,
        *,
        color: Color = "rgb",
        on_error: Literal["raise"] = "raise",
    ) -> Poses: ...
    @overload
    def __call__(
        self,
        image: ImageInput,
        boxes_image: np.ndarray | None = None,
        *,
        color: Color = "rgb",
        on_error: Literal["none"],
    ) -> Poses | None: ...

    def __call__(
        self,
        image: Any,
        boxes_image: Any = None,
        *,
        color: Color = "rgb",
        on_error: Literal["raise", "none"] = "raise",
    ) -> Any:
        """Return the poses of the people in an image, or for a list of images a list of them.

        The people of a list go through the pose model in common batches, while the next images are
        read.

        Args:
            image: RGB uint8 (height, width, 3); the path or the http(s) URL of an image file; the
                bytes of one; a PIL image; or a list of these, in any mixture.
            boxes_image: The people's boxes (n, 4) as x1, y1, x2, y2; detected by default. For a
                list of images a list of such arrays.
            color: Order of the channels of arrays: "rgb", or "bgr" as OpenCV reads them.
            on_error: What happens if an image cannot be read: "raise" an error, for a list after
                all others are done; or log a warning and return None for it ("none").

        Raises:
            ImageError: If an image cannot be read, or an array is not an RGB uint8 image. For a
                list ``ImagesError``, which has the results of all others.
            ValueError: If a box has no area or lies outside the image, or there is neither detector
                nor box.
        """
        if on_error not in ("raise", "none"):
            raise ValueError(f"on_error is {quoted(on_error)}; expected 'raise' or 'none'")
        is_list = isinstance(image, list | tuple)
        images, all_boxes = (image, boxes_image) if is_list else ([image], [boxes_image])
        if all_boxes is not None and len(all_boxes) != len(images):
            raise ValueError(
                f"there are boxes for {len(all_boxes)} images; expected {len(images)}, an array "
                "(n, 4) for each image of the list"
            )

        def boxes_of(number: int, pixels: Image) -> ImageBoxes:
            try:
                return self._find_boxes(pixels, None if all_boxes is None else all_boxes[number])
            except ValueError as error:
                raise ValueError(f"image {number}: {error}" if is_list else str(error)) from error

        with finished_at_exit():
            results, errors = estimate_list(
                images,
                boxes_of,
                self._estimate_many,
                color=color,
                finish=self._with_preview(color),
            )
        if errors and on_error == "raise":
            raise ImagesError(errors, results) if is_list else errors[0]
        for number, error in errors.items():
            _log.warning("image %d: %s", number, printable(str(error)))
        return results if is_list else results[0]

    @finished_at_exit()
    def timed(
        self,
        image: ImageInput,
        boxes_image: np.ndarray | None = None,
        box_scores: np.ndarray | None = None,
    ) -> tuple[Poses, dict[str, float]]:
        """Return the poses, and the time in milliseconds of the stages "detect" and "pose".

        ``box_scores`` (n,) are the scores of the given boxes, 1 by default.
        """
        pixels = load_image(image)
        times = StageTimes()
        image_boxes = self._find_boxes(pixels, boxes_image, box_scores)
        times.lap("detect")
        (poses,) = self._estimate_many([image_boxes])
        times.lap("pose")
        return poses, times.totals_ms()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_newest_image": None}

    def _find_boxes(
        self, pixels: Image, boxes_image: Any = None, box_scores: Any = None
    ) -> ImageBoxes:
        """The given boxes of the people in an image, checked; detected if there are none."""
        if self.estimator.finds_people:
            if boxes_image is not None:
                name = self.estimator.session.info.name
                raise ValueError(f"{name} finds people itself; expected no boxes_image")
            return without_boxes(pixels)
        if boxes_image is None:
            if self.detector is None:
                raise ValueError("this pipeline has no detector; expected boxes_image")
            boxes, scores = self.detector(pixels)
            kept = largest_people(boxes, self.limits.max_people)
            return pixels, boxes[kept], scores[kept]
        boxes = np.asarray(boxes_image, np.float32)
        boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
        geometry.check_boxes_in_image(boxes, pixels)
        scores = np.asarray(np.ones(len(boxes)) if box_scores is None else box_scores, np.float32)
        if scores.shape != (len(boxes),):
            raise ValueError(
                f"box scores have shape {scores.shape}; expected ({len(boxes)},), one per box"
            )
        return pixels, boxes, scores

    def _estimate_many(self, images: Sequence[ImageBoxes]) -> list[Poses]:
        results = self.estimator.estimate_many(images)
        if not self.estimator.finds_people:
            return results
        largest = self.limits.max_people
        return [poses[largest_people(poses.boxes_image, largest)] for poses in results]

    def _with_preview(self, color: Color) -> Callable[[Poses, Image, ImageInput], Poses]:
        def finish(poses: Poses, pixels: Image, source: ImageInput) -> Poses:
            self._newest_image = pixels
            return dataclasses.replace(poses, preview=ImagePreview(pixels, source, color))

        return finish


def _with_tiles(detector: Detector | None, tiles: Tiles, estimator: PoseEstimator) -> Detector:
    if detector is None:
        name = estimator.session.info.name
        reason = f"{name} finds people itself" if estimator.finds_people else "there is none"
        raise ValueError(f"tiles are for a person detector, and {reason}; expected no tiles")
    return new_detector(detector.session, score_threshold=detector.score_threshold, tiles=tiles)


def load(
    model: str | Path = models.DEFAULT_POSE,
    detector: str | Path | None = models.DEFAULT_DETECTOR,
    threads: int | None = None,
    conf: float | None = None,
    *,
    max_people: int | None = None,
    backend: str = "onnxruntime",
    precision: str | None = None,
    tiles: Tiles = "off",
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
        threads: CPU threads; None for the backend's choice (0 too, as before 2026-11-29).
        conf: Minimum score 0..1 of a person's box; None for the detector's own threshold.
        max_people: At most this many people per image, the largest; None for all.
        backend: A backend that ``slimpose doctor`` lists; "auto" for the fastest on this machine
            (a trial of two seconds per model, remembered).
        precision: The precision to compute in; None for the files' own, "bf16" or "fp16" where
            backend and processor have it, "any" to let backend "auto" choose.
        tiles: "auto" to run the detector on enlarged tiles of each image too, which finds smaller
            people; several to hundreds of times the detector's time (``runtime.tiles``).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a name is unknown, a file is not such a model, or a backend or precision is
            not available; if a number is out of range.
    """
    limits = PeopleLimits(conf=conf, max_people=max_people)

    def open_model(name: str | Path) -> Session:
        return open_session(
            models.resolve(name), threads=threads or None, backend=backend, precision=precision
        )

    session = open_model(model)
    if session.info.task == "one-stage":
        if detector not in (None, models.DEFAULT_DETECTOR):
            raise ValueError(
                f"{session.info.name} finds people itself; expected no detector (got {detector})"
            )
        estimator = OneStageEstimator(session, score_threshold=conf)
        return Pipeline(estimator=estimator, detector=None, limits=limits, tiles=tiles)
    if detector is not None:
        models.check_detector_of(session.info.skeleton, detector)
    return Pipeline(
        estimator=PoseEstimator(session),
        detector=(
            None if detector is None else Detector(open_model(detector), score_threshold=conf)
        ),
        limits=limits,
        tiles=tiles,
    )
