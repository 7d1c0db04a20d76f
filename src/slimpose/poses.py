"""``Poses``: the result for one image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from slimpose.arrays import Boxes, Covariances, Ids, PersonScores, Points, Scores
from slimpose.messages import quoted
from slimpose.skeleton import Skeleton

if TYPE_CHECKING:
    from pandas import DataFrame
    from supervision import Detections

MIN_JOINT_SCORE = 0.2
"""Joints that score less do not count in the person's score (the usual rescoring rule)."""

NOT_TRACKED = -1
"""The id of a person without a track."""


@runtime_checkable
class Preview(Protocol):
    """What draws poses over the image that they were found in."""

    def png(self, poses: Poses) -> bytes | None:
        """Return the drawing as PNG; None if the image does not exist any more."""
        ...


Rows = int | np.integer | slice | np.ndarray | Sequence[int] | Sequence[bool]
"""People of ``Poses``: a number, a slice, a mask, or several numbers."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Poses:
    """The n people found in one image, in image pixels.

    ``len(poses)`` is n. ``poses[3]`` (one person), ``poses[1:]``, ``poses[mask]`` and
    ``poses[[4, 0]]`` are ``Poses`` again, and so is each person in ``for person in poses``.
    Notebooks show the people drawn over the image, as long as the image exists.

    >>> from slimpose.skeleton import COCO17
    >>> poses = Poses.empty(COCO17)
    >>> poses
    <Poses: 0 people, 17 keypoints (coco17)>
    >>> poses[poses.person_scores > 0.5].points_image.shape
    (0, 17, 2)

    Attributes:
        points_image: (n, joints, 2) x, y of each keypoint.
        scores: (n, joints) 0..1.
        covariances_image: (n, joints, 2, 2) square pixels: the width and direction of each
            heatmap's peak.
        boxes_image: (n, 4) x1, y1, x2, y2: the boxes the poses were estimated in.
        person_scores: (n,) box score times the mean joint score.
        ids: (n,) track numbers; -1 where people are not tracked.
        skeleton: The joints' names and order.
        preview: Draws the people over their image, in notebooks; not copied to other processes.
    """

    points_image: Points
    scores: Scores
    covariances_image: Covariances
    boxes_image: Boxes
    person_scores: PersonScores
    ids: Ids
    skeleton: Skeleton
    preview: Preview | None = None

    def __post_init__(self) -> None:
        if self.points_image.ndim != 3:
            raise ValueError(
                f"points_image has shape {self.points_image.shape}; expected (people, joints, 2) "
                "(a single person still needs the first axis)"
            )
        n, joints = len(self.points_image), len(self.skeleton.joints)
        expected = {
            "points_image": (n, joints, 2),
            "scores": (n, joints),
            "covariances_image": (n, joints, 2, 2),
            "boxes_image": (n, 4),
            "person_scores": (n,),
            "ids": (n,),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"{name} has shape {getattr(self, name).shape}; "
                    f"expected {shape} for {n} people and {joints} joints"
                )
        if self.ids.dtype != np.int64:
            raise ValueError(f"ids are {self.ids.dtype}; expected int64")

    def __len__(self) -> int:
        return len(self.points_image)

    def __getitem__(self, rows: Rows) -> Poses:
        selected = _selection(rows, len(self))
        arrays = {name: getattr(self, name)[selected] for name in _PER_PERSON}
        return Poses(**arrays, skeleton=self.skeleton, preview=self.preview)

    def __iter__(self) -> Iterator[Poses]:
        return (self[row] for row in range(len(self)))

    def __repr__(self) -> str:
        count, joints = len(self), len(self.skeleton.joints)
        text = f"{count} {'person' if count == 1 else 'people'}, {joints} keypoints "
        text += f"({self.skeleton.name})"
        if count:
            text += f", scores {_shortened([f'{score:.2f}' for score in self.person_scores])}"
        if (self.ids != NOT_TRACKED).any():
            text += f", ids {_shortened(self.ids.tolist())}"
        return f"<Poses: {text}>"

    def _repr_png_(self) -> bytes | None:
        """The people drawn over their image; IPython calls it."""
        return None if self.preview is None else self.preview.png(self)

    def filter(
        self, *, min_score: float = 0.0, box: Sequence[float] | np.ndarray | None = None
    ) -> Poses:
        """Return the people that fulfill all conditions.

        Args:
            min_score: Least person score, 0..1.
            box: x1, y1, x2, y2 in image pixels; the centers of the people's boxes are in it.

        Raises:
            ValueError: If the score is not in 0..1, or the box is not one.
        """
        if not 0 <= min_score <= 1:
            raise ValueError(f"min_score is {min_score}; expected a number 0..1")
        kept = self.person_scores >= min_score
        if box is not None:
            area = np.asarray(box, np.float64)
            if area.shape != (4,) or not (area[:2] < area[2:]).all():
                raise ValueError(
                    f"box is {quoted(box)}; expected x1, y1, x2, y2 in pixels with x1 < x2 and "
                    "y1 < y2 (is it x, y, width, height?)"
                )
            centers = (self.boxes_image[:, :2] + self.boxes_image[:, 2:]) / 2
            kept &= ((centers >= area[:2]) & (centers <= area[2:])).all(axis=1)
        return self[kept]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as numbers, texts, lists and dicts, for ``json.dumps`` for example.

        >>> from slimpose.skeleton import COCO17
        >>> Poses.empty(COCO17).to_dict()
        {'skeleton': 'coco17', 'people': []}
        """
        people = [
            {
                "track_id": int(track) if track != NOT_TRACKED else None,
                "score": float(self.person_scores[row]),
                "box": self.boxes_image[row].tolist(),
                "keypoints": {
                    joint: {"x": x, "y": y, "score": score, "covariance": covariance}
                    for joint, (x, y), score, covariance in zip(
                        self.skeleton.joints,
                        self.points_image[row].tolist(),
                        self.scores[row].tolist(),
                        self.covariances_image[row].tolist(),
                        strict=True,
                    )
                },
            }
            for row, track in enumerate(self.ids)
        ]
        return {"skeleton": self.skeleton.name, "people": people}

    def to_dataframe(self) -> DataFrame:
        """Return a pandas data frame: a row per keypoint of each person.

        The columns are those of ``slimpose predict --csv``: person, track_id (<NA> without
        tracking), joint, x, y, score, variance_x, variance_y, covariance_xy; and person_score.

        Raises:
            ModuleNotFoundError: If pandas is not installed.
        """
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise _not_installed("to_dataframe", "pandas", error) from error
        count, joints = len(self), len(self.skeleton.joints)
        covariances = self.covariances_image.reshape(-1, 2, 2)
        tracks = pandas.array(np.repeat(self.ids, joints), dtype="Int64")
        return pandas.DataFrame(
            {
                "person": np.repeat(np.arange(count), joints),
                "track_id": pandas.Series(tracks).mask(tracks == NOT_TRACKED),
                "person_score": np.repeat(self.person_scores, joints),
                "joint": np.tile(np.array(self.skeleton.joints, object), count),
                "x": self.points_image[..., 0].ravel(),
                "y": self.points_image[..., 1].ravel(),
                "score": self.scores.ravel(),
                "variance_x": covariances[:, 0, 0],
                "variance_y": covariances[:, 1, 1],
                "covariance_xy": covariances[:, 0, 1],
            }
        )

    def to_supervision(self) -> Detections:
        """Return ``supervision.Detections``: the people's boxes, scores and ids.

        ``class_id`` is 0, ``tracker_id`` the track ids (None if no person has one). ``data`` has
        ``class_name`` ("person"), ``keypoints`` (n, joints, 2), ``keypoint_scores`` (n, joints) and
        ``covariance`` (n, joints, 2, 2). For the annotators of keypoints there is
        ``slimpose.formats.supervision.to_keypoints``.

        Raises:
            ModuleNotFoundError: If supervision is not installed.
        """
        try:
            from supervision import Detections
        except ModuleNotFoundError as error:
            raise _not_installed("to_supervision", "supervision", error) from error
        return Detections(
            xyxy=self.boxes_image.copy(),
            confidence=self.person_scores.copy(),
            class_id=np.zeros(len(self), np.int64),
            tracker_id=self.ids.copy() if (self.ids != NOT_TRACKED).any() else None,
            data={
                "class_name": np.full(len(self), "person"),
                "keypoints": self.points_image.copy(),
                "keypoint_scores": self.scores.copy(),
                "covariance": self.covariances_image.copy(),
            },
        )

    @classmethod
    def empty(cls, skeleton: Skeleton) -> Poses:
        """Return the result of an image without people."""
        joints = len(skeleton.joints)
        return cls(
            points_image=np.zeros((0, joints, 2), np.float32),
            scores=np.zeros((0, joints), np.float32),
            covariances_image=np.zeros((0, joints, 2, 2), np.float32),
            boxes_image=np.zeros((0, 4), np.float32),
            person_scores=np.zeros(0, np.float32),
            ids=np.zeros(0, np.int64),
            skeleton=skeleton,
        )


_PER_PERSON = (
    "points_image",
    "scores",
    "covariances_image",
    "boxes_image",
    "person_scores",
    "ids",
)


def _selection(rows: Any, count: int) -> np.ndarray | slice:
    """An index of arrays that keeps their first axis, from one of ``Rows``."""
    if isinstance(rows, slice):
        return rows
    selected = np.asarray(rows)
    if selected.size == 0 and selected.ndim == 1:
        selected = selected.astype(bool if selected.dtype == bool and count == 0 else np.int64)
    is_mask = selected.dtype == bool
    if selected.dtype.kind not in "iub" or selected.ndim > 1 or (is_mask and selected.ndim == 0):
        raise TypeError(
            f"people are selected by {quoted(rows)}; expected a number, a slice, a mask (n,) of "
            "bool, or several numbers"
        )
    if is_mask and len(selected) != count:
        raise IndexError(
            f"the mask has {len(selected)} entries; expected {count}, one for each person"
        )
    if not is_mask and ((selected < -count) | (selected >= count)).any():
        expected = f"-{count}..{count - 1}" if count else "none: no people were found"
        raise IndexError(f"there is no person {quoted(rows)}; expected {expected}")
    return np.atleast_1d(selected)


def _shortened(items: Sequence[object]) -> str:
    shown = " ".join(map(str, items[:6]))
    return f"{shown} ..." if len(items) > 6 else shown


def _not_installed(method: str, package: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The error of a method that needs an optional package."""
    if error.name != package:  # it is installed, and lacks something itself
        return error
    return ModuleNotFoundError(
        f"{method}() needs {package}, which is not installed: pip install {package}", name=package
    )


def person_scores(joint_scores: Scores, box_scores: PersonScores) -> PersonScores:
    """Return each person's score: box score times the mean of joint scores over MIN_JOINT_SCORE."""
    counted = joint_scores > MIN_JOINT_SCORE
    mean = (joint_scores * counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    return (box_scores * mean).astype(np.float32)
