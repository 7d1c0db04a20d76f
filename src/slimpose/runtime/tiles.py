"""Person detection in tiles of an image: for people who are small in it, and for many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float32, Int64

from slimpose import geometry
from slimpose.arrays import Boxes, Image, PersonScores, Size
from slimpose.messages import quoted
from slimpose.runtime.detector import Detector, box_nms
from slimpose.runtime.session import Model

Tiles = Literal["off", "auto"]
"""Whether a detector runs on tiles of an image too."""

_CANDIDATE_SCORE = 0.05
"""Boxes that score more may be people; if they are small, they are detected again in tiles."""
_SMALL = 0.25
"""Share of the detector's input below which a box is small."""
_ENOUGH = 0.1
"""Share from which a box is good enough to be kept, rather than those at larger scales."""
_MAX_SCALE = 4.0
"""Tiles are not enlarged more than this."""
_GRID_SCALE = 0.5
"""Up to this scale all of the image is shown in tiles: people of 60 pixels are 15 to 30 then."""
_GRID_OVERLAP = 0.25
"""Of the tiles that cover the whole image, as a share of their sides."""
_LARGE = 0.6
"""Larger boxes in a tile are people that a smaller scale shows better."""
_CUT_PX = 2.0
"""A box that ends this near to a tile's border, in pixels of the detector's input, is cut."""
_NEAR_BORDER_PX = 16.0
"""A box that ends this near to it may be a part of a person."""
_PART_SHARE = 0.6
"""Share of such a box that lies in another if it is a part of that person."""
_MARGIN_PX = 4.0
"""Between a small box and its tile's border, likewise, besides a sixth of the box."""
_SAME_PERSON_IOU = 0.45
"""Boxes found at different scales that overlap more are one person."""
_MAX_BOXES = 300
"""Of one tile, the best."""

_Tiles = Int64[np.ndarray, "_tiles 4"]
"""x1, y1, x2, y2 in image pixels; x2 and y2 are not part of the tile."""


class _Found(NamedTuple):
    """The boxes of the tiles of one scale, in image pixels.

    ``shares`` are their longer sides as shares of the detector's input, ``gaps_px`` their distances
    from the nearest border of their tile in its pixels, ``tiles`` the numbers of these.
    """

    boxes: np.ndarray
    scores: np.ndarray
    shares: np.ndarray
    gaps_px: np.ndarray
    tiles: np.ndarray


def new_detector(
    session: Model, *, score_threshold: float | None = None, tiles: str = "off"
) -> Detector:
    """Return a ``Detector``, or with tiles "auto" a ``TiledDetector``.

    Raises:
        ValueError: If there is no such choice, or what they raise.
    """
    if tiles not in get_args(Tiles):
        raise ValueError(f"tiles is {quoted(tiles)}; expected one of {', '.join(get_args(Tiles))}")
    create = Detector if tiles == "off" else TiledDetector
    return create(session, score_threshold=score_threshold)


class TiledDetector(Detector):
    """A person detector that enlarges what is small.

    It runs on the whole image, and if that is larger than its input, on overlapping tiles that show
    it twice as large, and again until that is a quarter of its size or more. Where there are small
    boxes then, of however low scores, it runs on tiles around them, each time twice as large, until
    people fill a quarter of its input. The tiles are chosen so that each of these boxes lies whole
    in one of them. So the cost depends on the number of small people and how far they are apart.

    It does not depend on how an image fills the detector's input (``ModelInfo.fit``), or its size.

    Attributes:
        images: Number of images processed so far.
        runs: Number of times the detector ran on one of them or on a tile.

    Raises:
        ValueError: If the session holds another kind of model, or the threshold is not in 0..1.
    """

    images = 0
    runs = 0

    def __call__(
        self, image: Image, *, score_threshold: float | None = None
    ) -> tuple[Boxes, PersonScores]:
        """Return the people's boxes (n, 4) in image pixels, the best first, and scores (n,).

        ``score_threshold`` replaces the detector's.
        """
        threshold = self.score_threshold if score_threshold is None else score_threshold
        canvas, size = self.session.info.size, Size(*image.shape[:2])
        scale = min(canvas.height / size.height, canvas.width / size.width)
        tiles = np.array([[0, 0, size.width, size.height]], np.int64)
        levels: list[_Found] = []
        self.images += 1
        while len(tiles):
            self.runs += len(tiles)
            found = self._detect_tiles(image, tiles, scale, min(threshold, _CANDIDATE_SCORE))
            levels.append(found)
            scale *= 2
            if scale > _MAX_SCALE:
                break
            tile = Size(round(canvas.height / scale), round(canvas.width / scale))
            if scale <= _GRID_SCALE or (len(levels) == 1 and scale < 2):
                tiles = _grid(size, tile)
            else:
                tiles = _cover(self._small_boxes(found, scale), tile, size)
        return _merge(levels, threshold)

    def find_all(self, image: Image, *, score_threshold: float) -> tuple[Boxes, PersonScores, bool]:
        """Return boxes and scores; tiles show crowds large, so no one is taken to be missing."""
        return *self(image, score_threshold=score_threshold), False

    def _detect_tiles(self, image: Image, tiles: _Tiles, scale: float, threshold: float) -> _Found:
        """Return the boxes of the tiles of one scale."""
        canvas, size = self.session.info.size, Size(*image.shape[:2])
        parts = [np.ascontiguousarray(image[y1:y2, x1:x2]) for x1, y1, x2, y2 in tiles]
        found = []
        for number, (tile, (boxes, scores)) in enumerate(
            zip(tiles, self.detect(parts, score_threshold=threshold), strict=True)
        ):
            boxes = boxes[:_MAX_BOXES] + np.tile(tile[:2], 2).astype(np.float32)
            found.append(
                _Found(
                    boxes=boxes,
                    scores=scores[:_MAX_BOXES],
                    shares=_shares(boxes, scale, canvas),
                    gaps_px=np.float32(scale) * _gaps(boxes, tile, size),
                    tiles=np.full(len(boxes), number),
                )
            )
        return _Found(*(np.concatenate(column) for column in zip(*found, strict=True)))

    def _small_boxes(self, found: _Found, scale: float) -> Boxes:
        """Return boxes around what may be small people, with a margin for tiles of a scale."""
        rows = np.flatnonzero(
            (found.shares < _SMALL) & (found.scores > _CANDIDATE_SCORE) & (found.gaps_px > _CUT_PX)
        )
        threshold = self.session.info.nms_iou_threshold
        kept = box_nms(found.boxes[rows], found.scores[rows], iou_threshold=threshold)
        boxes = found.boxes[rows[kept]]
        margins = _MARGIN_PX / scale + (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / 6
        return boxes + margins[:, None] * np.array([-1, -1, 1, 1], np.float32)


def _shares(boxes: Boxes, scale: float, canvas: Size) -> Float32[np.ndarray, " n"]:
    """Return the longer side of each box as a share of the detector's input."""
    sides = (boxes[:, 2:] - boxes[:, :2]) * np.float32(scale)
    return (sides / np.array([canvas.width, canvas.height], np.float32)).max(axis=1)


def _gaps(boxes: Boxes, tile: Int64[np.ndarray, "4"], image: Size) -> Float32[np.ndarray, " n"]:
    """Return the distance of each box from the nearest border of its tile, in image pixels.

    Borders that are also the image's do not count.
    """
    limits = np.array([image.width, image.height])
    low = np.where(tile[:2] > 0, boxes[:, :2] - tile[:2], np.inf)
    high = np.where(tile[2:] < limits, tile[2:] - 1 - boxes[:, 2:], np.inf)
    return np.minimum(low, high).min(axis=1, initial=np.inf).astype(np.float32)


def _grid(image: Size, tile: Size) -> _Tiles:
    """Return overlapping tiles that cover an image."""
    tops, lefts = (_starts(length, side) for length, side in zip(image, tile, strict=True))
    y, x = (axis.ravel() for axis in np.meshgrid(tops, lefts, indexing="ij"))
    return _placed(x, y, tile, image)


def _starts(length: int, side: int) -> Int64[np.ndarray, " n"]:
    if side >= length:
        return np.zeros(1, np.int64)
    count = int(np.ceil((length - _GRID_OVERLAP * side) / ((1 - _GRID_OVERLAP) * side)))
    return np.linspace(0, length - side, max(2, count)).round().astype(np.int64)


def _cover(boxes: Boxes, tile: Size, image: Size) -> _Tiles:
    """Return tiles so that each box lies in one of them, as far as it lies in the image.

    Rows of tiles from top to bottom, tiles of a row from left to right; each is centered on its
    boxes.
    """
    limits = np.array([image.width, image.height] * 2, np.float32)
    boxes = np.clip(boxes, 0, limits)
    corners: list[np.ndarray] = []
    while len(boxes):
        top = boxes[:, 1].min()
        is_row = boxes[:, 3] <= max(top + tile.height, boxes[boxes[:, 1] == top, 3].min())
        row, boxes = boxes[is_row], boxes[~is_row]
        while len(row):
            left = row[:, 0].min()
            is_here = row[:, 2] <= max(left + tile.width, row[row[:, 0] == left, 2].min())
            here, row = row[is_here], row[~is_here]
            middle = (here[:, :2].min(axis=0) + here[:, 2:].max(axis=0)) / 2
            corners.append(middle - np.array([tile.width, tile.height]) / 2)
    found = np.array(corners, np.float64).reshape(-1, 2).round().astype(np.int64)
    return _placed(found[:, 0], found[:, 1], tile, image)


def _placed(
    x: Int64[np.ndarray, " n"], y: Int64[np.ndarray, " n"], tile: Size, image: Size
) -> _Tiles:
    """Return tiles at upper left corners, moved into the image."""
    width, height = min(tile.width, image.width), min(tile.height, image.height)
    x, y = np.clip(x, 0, image.width - width), np.clip(y, 0, image.height - height)
    return np.stack([x, y, x + width, y + height], axis=1)


def _merge(levels: Sequence[_Found], threshold: float) -> tuple[Boxes, PersonScores]:
    """Return one box per person, the best first, of the boxes of all scales.

    Of the boxes of a person that one is kept which is large enough in the detector's input, at the
    smallest scale, which shows most around the person; else the one at the largest scale. Boxes
    that end near to the border of their tile come last.
    """
    numbers = np.concatenate([np.full(len(found.scores), k) for k, found in enumerate(levels)])
    found = _Found(*(np.concatenate(column) for column in zip(*levels, strict=True)))
    is_small, is_near_border = found.shares < _ENOUGH, found.gaps_px < _NEAR_BORDER_PX
    order = np.lexsort(
        (-found.scores, np.where(is_small, -numbers, numbers), is_small, is_near_border)
    )
    is_possible = (found.scores > threshold) & (found.gaps_px > _CUT_PX)
    is_possible &= (numbers == 0) | (found.shares < _LARGE)
    left = order[is_possible[order]]
    tiles, kept = found.tiles + 1_000_000 * numbers, []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        box, others = found.boxes[best : best + 1], found.boxes[left]
        is_same = geometry.box_iou(box, others)[0] > _SAME_PERSON_IOU
        inside = geometry.box_intersections(box, others)[0] / geometry.box_areas(others)
        is_same |= (inside > _PART_SHARE) & is_near_border[left]
        left = left[~is_same | (tiles[left] == tiles[best])]
    rows = np.array(kept, np.int64)
    rows = rows[np.argsort(-found.scores[rows], kind="stable")]
    return found.boxes[rows], found.scores[rows]
