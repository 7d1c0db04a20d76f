"""Where to look for people when a pose net is measured: ground truth, a file, or what a detector found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slimpose.arrays import Boxes, PersonScores
from slimpose.formats import boxes as box_files
from slimpose.formats.coco import CocoFile


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredBoxes:
    """The boxes to look at in one image, with the detector's scores (1 for ground truth)."""

    boxes_image: Boxes
    scores: PersonScores

    def above_score(self, threshold: float) -> ScoredBoxes:
        """Return those that score more."""
        kept = self.scores > threshold
        return ScoredBoxes(boxes_image=self.boxes_image[kept], scores=self.scores[kept])


def ground_truth_boxes(annotations: CocoFile) -> dict[int, ScoredBoxes]:
    """Return the boxes of everybody with labeled joints by image id, crowds left out."""
    boxes: dict[int, ScoredBoxes] = {}
    for image_id, people in annotations.people_by_image().items():
        labeled = [
            person.box_image
            for person in people
            if person.keypoints is not None
            and person.keypoints[:, 2].any()
            and not person.is_crowd
            and (person.box_image[2:] > person.box_image[:2]).all()
        ]
        if labeled:
            stacked = np.stack(labeled)
            boxes[image_id] = ScoredBoxes(
                boxes_image=stacked, scores=np.ones(len(stacked), np.float32)
            )
    return boxes


def boxes_from_file(annotations: CocoFile, path: Path) -> dict[int, ScoredBoxes]:
    """Return the boxes of a COCO annotation or results file by image id.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such file, or holds no box of any of these images.
    """
    given = box_files.read(path)
    boxes: dict[int, ScoredBoxes] = {}
    for image_id, entry in annotations.images.items():
        found, scores = given.of(Path(entry.file_name), 0, image_id=image_id)
        with_area = (found[:, 2:] > found[:, :2]).all(axis=1)
        if with_area.any():
            boxes[image_id] = ScoredBoxes(boxes_image=found[with_area], scores=scores[with_area])
    if not boxes:
        raise ValueError(
            f"{path} holds no box of an image of {annotations.path} (of another data set?)"
        )
    return boxes
