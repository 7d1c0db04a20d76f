"""Everyone in an image by one net for all of it: no detector, and no crops."""

from __future__ import annotations

import numpy as np

from slimpose import geometry
from slimpose.adapters.part_affinity import GroupedPeople, group_people
from slimpose.arrays import Image
from slimpose.poses import NOT_TRACKED, Poses
from slimpose.runtime.letterbox import letterbox
from slimpose.runtime.session import Model
from slimpose.skeleton import COCO17


class BottomUpEstimator:
    """A net of heatmaps and affinities, and the grouping of what it finds; or a net that groups by itself.

    Raises:
        ValueError: If the model is of another task, or lacks one of COCO's joints.
    """

    def __init__(self, model: Model) -> None:
        if model.info.task != "bottom-up":
            raise ValueError(
                f"{model.info.name} is a {model.info.task} model; expected one for whole images"
            )
        missing = [joint for joint in COCO17.joints if joint not in model.info.skeleton.joints]
        if missing:
            raise ValueError(
                f"{model.info.name} has no {', '.join(missing)}; expected all of COCO's joints"
            )
        self._model = model
        self._order = [model.info.skeleton.joints.index(joint) for joint in COCO17.joints]

    def __call__(self, image: Image) -> Poses:
        """Return the people of an RGB uint8 image, best first, with COCO's joints; those not found score 0.

        Boxes are those of the joints found; a covariance is that of a point anywhere in a cell.
        """
        info = self._model.info
        canvas, affine = letterbox(image, info.size)
        found = self._people_of(canvas)
        if len(found.scores) == 0:
            return Poses.empty(COCO17)
        to_image = np.repeat(geometry.invert_affines(affine), len(found.scores), axis=0)
        points = geometry.transform_points(to_image, found.points_image)[:, self._order]
        scores = found.scores[:, self._order]
        is_found = (scores > 0)[..., None]
        low = np.where(is_found, points, np.inf).min(axis=1)
        high = np.where(is_found, points, -np.inf).max(axis=1)
        some = np.isfinite(low).all(axis=1)  # of a neck alone nothing is left
        cell = np.eye(2, dtype=np.float32) * (info.stride * to_image[0, 0, 0]) ** 2 / 12
        return Poses(
            points_image=np.where(is_found, points, 0)[some].astype(np.float32),
            scores=scores[some],
            covariances_image=np.broadcast_to(cell, (*scores[some].shape, 2, 2)).astype(np.float32),
            boxes_image=np.concatenate([low, high], axis=1)[some].astype(np.float32),
            person_scores=found.person_scores[some],
            ids=np.full(int(some.sum()), NOT_TRACKED, np.int64),
            skeleton=COCO17,
        )

    def _people_of(self, canvas: Image) -> GroupedPeople:
        info = self._model.info
        if "person_scores" in self._model.outputs:
            points, scores, person_scores = (
                answer[0]
                for answer in self._model.run(canvas[None], ("points", "scores", "person_scores"))
            )
            best_first = np.argsort(-person_scores, kind="stable")[
                : np.count_nonzero(person_scores)
            ]
            return GroupedPeople(points[best_first], scores[best_first], person_scores[best_first])
        heatmaps, affinities = self._model.run(canvas[None], ("heatmaps", "affinities"))
        return group_people(heatmaps[0], affinities[0], info.skeleton, stride=info.stride)
