"""Person detection: the boxes of the people in an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int64

from slimpose import geometry
from slimpose.arrays import Boxes, Image, PersonScores
from slimpose.runtime.crops import fit_canvas
from slimpose.runtime.session import Model, ModelInfo

SCORE_THRESHOLD = 0.3
NMS_IOU_THRESHOLD = 0.6
"""Written to a detector's file unless its card has others."""
_MAX_BATCH = 4
"""Images of one call: bounds the memory."""


def box_nms(boxes_image: Boxes, scores: PersonScores, *, iou_threshold: float) -> list[int]:
    """Return the indices of the boxes that non-maximum suppression keeps, the best first.

    A box is dropped if its IoU with a better kept box is over the threshold.
    """
    kept: list[int] = []
    left = np.argsort(-scores, kind="stable")
    while len(left):
        best, others = left[:1], left[1:]
        kept.append(int(best[0]))
        overlap = geometry.box_iou(boxes_image[best], boxes_image[others])[0]
        left = others[overlap <= iou_threshold]
    return kept


def decode_boxes(
    boxes_canvas: Float32[np.ndarray, "found 4"],
    scores: Float32[np.ndarray, " found"],
    to_canvas: Float32[np.ndarray, "1 2 3"],
    image: Image,
    *,
    threshold: float,
    iou_threshold: float,
) -> tuple[Boxes, PersonScores]:
    """Return a detector's raw boxes in image pixels, filtered, the best first.

    Boxes are kept if they score over the threshold, are not tiny once clipped to the image, and
    pass non-maximum suppression.
    """
    rows, boxes = select_boxes(
        boxes_canvas,
        scores,
        to_canvas,
        np.array(image.shape[1::-1], np.float32),
        threshold=threshold,
        iou_threshold=iou_threshold,
    )
    return boxes, scores[rows]


def select_boxes(
    boxes_canvas: Float32[np.ndarray, "found 4"],
    scores: Float32[np.ndarray, " found"],
    to_canvas: Float32[np.ndarray, "1 2 3"],
    image_size: Float32[np.ndarray, "2"],
    *,
    threshold: float,
    iou_threshold: float,
) -> tuple[Int64[np.ndarray, " n"], Boxes]:
    """Return the rows of the raw boxes that ``decode_boxes`` keeps, and these in image pixels.

    ``image_size`` is the image's width and height.
    """
    rows = np.flatnonzero(scores > threshold)
    corners = geometry.transform_points(
        geometry.invert_affines(to_canvas), boxes_canvas[rows].reshape(1, -1, 2)
    )
    limits = image_size - np.float32(0.5)
    boxes = np.clip(corners, np.float32(-0.5), limits).reshape(-1, 4).astype(np.float32)
    large = (boxes[:, 2:] - boxes[:, :2] >= geometry.MIN_BOX_PX).all(axis=1)
    rows, boxes = rows[large], boxes[large]
    kept = box_nms(boxes, scores[rows], iou_threshold=iou_threshold)
    return rows[kept], boxes[kept]


def check_score_threshold(score_threshold: float | None, info: ModelInfo) -> float:
    """Return the threshold, by default the model's own.

    Raises:
        ValueError: If it is not in 0..1.
    """
    if score_threshold is not None and not 0 <= score_threshold <= 1:
        raise ValueError(f"score threshold is {score_threshold:g}; expected a number 0..1")
    return info.score_threshold if score_threshold is None else score_threshold


class Detector:
    """A person detector.

    Raises:
        ValueError: If the session holds another kind of model, or the threshold is not in 0..1.
    """

    def __init__(self, session: Model, *, score_threshold: float | None = None) -> None:
        if session.info.task != "detect":
            raise ValueError(
                f"{session.info.name} is a {session.info.task} model; expected a person detector"
            )
        self.session = session
        self.score_threshold = check_score_threshold(score_threshold, session.info)

    def __call__(
        self, image: Image, *, score_threshold: float | None = None
    ) -> tuple[Boxes, PersonScores]:
        """Return the people's boxes (n, 4) in image pixels, the best first, and scores (n,).

        ``score_threshold`` replaces the detector's.
        """
        return self.detect([image], score_threshold=score_threshold)[0]

    def detect(
        self, images: Sequence[Image], *, score_threshold: float | None = None
    ) -> list[tuple[Boxes, PersonScores]]:
        """Return the boxes and scores of each image, computed in batches."""
        return [found[:2] for found in self._detect(images, score_threshold)]

    def find_all(self, image: Image, *, score_threshold: float) -> tuple[Boxes, PersonScores, bool]:
        """Return boxes and scores, and whether the model's output was full.

        It has a fixed number of boxes, several of a person. Where all of them score over the
        threshold, as in crowds, others that do so may be missing.
        """
        return self._detect([image], score_threshold)[0]

    def _detect(
        self, images: Sequence[Image], score_threshold: float | None
    ) -> list[tuple[Boxes, PersonScores, bool]]:
        info = self.session.info
        threshold = self.score_threshold if score_threshold is None else score_threshold
        found: list[tuple[Boxes, PersonScores, bool]] = []
        for start in range(0, len(images), _MAX_BATCH):
            batch = images[start : start + _MAX_BATCH]
            fitted = [fit_canvas(image, info.size, info.fit) for image in batch]
            canvases = np.stack([canvas for canvas, _ in fitted])
            outputs = self.session.run(canvases, ("boxes", "scores"))
            found += [
                (
                    *decode_boxes(
                        boxes,
                        scores,
                        to_canvas,
                        image,
                        threshold=threshold,
                        iou_threshold=info.nms_iou_threshold,
                    ),
                    bool((scores > threshold).all()),
                )
                for image, (_, to_canvas), boxes, scores in zip(
                    batch, fitted, *outputs, strict=True
                )
            ]
        return found
