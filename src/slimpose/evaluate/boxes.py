"""Person boxes that a pose model is evaluated on: ground truth, a file, or a detector's output."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slimpose import geometry
from slimpose.arrays import Boxes, PersonScores, Size
from slimpose.formats import boxes as box_files
from slimpose.formats.coco import CocoFile


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredBoxes:
    """The person boxes of one image with the detector's scores (1 for ground truth)."""

    boxes_image: Boxes
    scores: PersonScores

    def above_score(self, threshold: float) -> ScoredBoxes:
        """Return the boxes that score more than the threshold."""
        kept = self.scores > threshold
        return ScoredBoxes(boxes_image=self.boxes_image[kept], scores=self.scores[kept])


def ground_truth_boxes(annotations: CocoFile) -> dict[int, ScoredBoxes]:
    """Return the boxes of all people with labeled keypoints by image id, without crowds."""
    boxes: dict[int, ScoredBoxes] = {}
    for image_id, people in annotations.people_by_image().items():
        labeled = [
            person.box_image for person in people if person.is_labeled and not person.is_crowd
        ]
        if labeled:
            boxes[image_id] = ScoredBoxes(
                boxes_image=np.stack(labeled), scores=np.ones(len(labeled), np.float32)
            )
    return boxes


def boxes_from_file(annotations: CocoFile, path: Path) -> dict[int, ScoredBoxes]:
    """Return the boxes of a COCO annotation or results file by image id.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a file, or has no box for any of these images; if a box has no
            area, or may be of two images; if many do not fit their images.
    """
    box_file = box_files.read(path, category_id=annotations.category_id)
    files = [Path(entry.file_name) for entry in annotations.images.values()]
    box_file.assign(files, by_number=False)
    boxes: dict[int, ScoredBoxes] = {}
    for image_id, entry in annotations.images.items():
        in_image, scores = box_file.lookup(
            Path(entry.file_name), 0, Size(entry.height, entry.width), image_id=image_id
        )
        try:
            geometry.check_boxes(in_image)
        except ValueError as error:
            raise ValueError(f"{path}: {entry.file_name}: {error}") from error
        if len(scores):
            boxes[image_id] = ScoredBoxes(boxes_image=in_image, scores=scores)
    if doubt := box_file.doubt():
        raise ValueError(doubt)
    if not boxes:
        raise ValueError(
            f"{path} has no box for an image of {annotations.path} (of another data set?)"
        )
    return boxes


def boxes_above_score(boxes: dict[int, ScoredBoxes], threshold: float) -> dict[int, ScoredBoxes]:
    """Return the boxes that score more than the threshold, without images that have none left."""
    confident = {image_id: found.above_score(threshold) for image_id, found in boxes.items()}
    return {image_id: found for image_id, found in confident.items() if len(found.scores)}
