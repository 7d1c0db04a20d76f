"""All checks of one label file, and of a second one against it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from slimpose.formats.coco import CocoFile
from slimpose.labels.checks import images as image_checks
from slimpose.labels.checks import instances, left_right, with_model
from slimpose.labels.checks.balance import Balance, pose_balance
from slimpose.labels.checks.findings import Finding
from slimpose.labels.checks.images import Hashes
from slimpose.labels.checks.pose_arrays import PoseArrays, pair_distances
from slimpose.labels.checks.structure import check_structure
from slimpose.runtime.estimator import PoseEstimator

Progress = Callable[[str, int, int], None]
"""Called with what is done, and how many of how many."""

_SWAPPED_FROM = 0.5
_SWAPPED_FROM_WITH_MODEL = 0.2
"""Probabilities from which a swap is reported; a model leaves less in between (docs)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedFile:
    """A label file and what was found in it.

    Attributes:
        path: The file.
        document: Its content, as it was read.
        file: Its valid entries; None if it is no annotation file at all.
        image_folder: Its images; None if they were not checked.
        findings: What was found.
        balance: How often each joint and kind of pose occurs; None without a file.
    """

    path: Path
    document: Any
    file: CocoFile | None
    image_folder: Path | None
    findings: tuple[Finding, ...]
    balance: Balance | None
    hashes: Hashes

    def extended_boxes(self) -> dict[int, tuple[int, ...]]:
        """Return the joints that boxes have to be extended to, by annotation id.

        Only boxes of instances without another finding: the joint may be wrong, not the box.
        """
        doubtful = {one.annotation_id for one in self.findings if one.kind not in _OF_BOXES}
        return {
            one.annotation_id: one.joints
            for one in self.findings
            if one.kind == "box cuts joints"
            and one.annotation_id is not None
            and one.annotation_id not in doubtful
        }


_OF_BOXES = ("box cuts joints", "structure")


def check_file(
    document: Any,
    path: Path,
    image_folder: Path | None,
    *,
    estimator: PoseEstimator | None = None,
    is_val: bool = False,
    on_progress: Progress = lambda what, done, total: None,
) -> CheckedFile:
    """Run all checks of one file.

    Args:
        document: The COCO document.
        path: Where it was read from.
        image_folder: Folder of its images; None checks the labels only.
        estimator: A pose model of the same joints, to compare the labels with.
        is_val: Whether findings are marked as those of the validation file.
        on_progress: Called with what is done, and how many of how many.

    Raises:
        ValueError: If the model has other joints.
    """
    file, findings = check_structure(document, path)
    hashes: Hashes = {}
    balance = None
    if file is not None:
        poses = PoseArrays.of(file)
        unreadable: set[int] = set()
        if image_folder is not None:
            faults, hashes = image_checks.check_images(
                file,
                image_folder,
                on_progress=lambda done, total: on_progress("images", done, total),
            )
            findings = [*findings, *faults]
            unreadable = {one.image_id for one in faults if one.image_id is not None}
        predictions = None
        if estimator is not None and image_folder is not None:
            usable = _without(file, unreadable)
            poses = PoseArrays.of(usable)
            predictions = with_model.predict(
                poses,
                usable,
                image_folder,
                estimator,
                on_progress=lambda done, total: on_progress("model", done, total),
            )
        findings = [*findings, *check_poses(poses, file, predictions)]
        balance = pose_balance(poses, file.skeleton)
    return CheckedFile(
        path=path,
        document=document,
        file=file,
        image_folder=image_folder,
        findings=tuple(replace(one, is_val=is_val) for one in findings),
        balance=balance,
        hashes=hashes,
    )


def check_poses(
    poses: PoseArrays, file: CocoFile, predictions: with_model.Predictions | None = None
) -> list[Finding]:
    """Run the checks of labels that need no images."""
    if not len(poses.people):
        return []
    flip_indices = file.skeleton.flip_indices
    distances = pair_distances(poses)
    findings = instances.check_joints(poses, distances)
    off_body: dict[int, set[int]] = {}
    for one in findings:
        if one.annotation_id is not None and one.kind != "limb length":
            off_body.setdefault(one.annotation_id, set()).update(one.joints)
    findings += instances.check_boxes(poses, off_body)
    findings += instances.check_pairs(poses, distances)
    swapped, probability = _swapped(poses, flip_indices, predictions)
    findings += [
        Finding(
            kind="swap",
            text=f"left and right are exchanged with a probability of {probability[row]:.2f}",
            image_id=person.image_id,
            annotation_id=person.id,
            suspicion=float(probability[row]),
        )
        for row, person in enumerate(poses.people)
        if person.id in swapped
    ]
    if predictions is not None:
        disagreeing = with_model.check_disagreement(poses, predictions)
        findings += [one for one in disagreeing if one.annotation_id not in swapped]
    return findings


def _swapped(
    poses: PoseArrays, flip_indices: np.ndarray, predictions: with_model.Predictions | None
) -> tuple[set[int], np.ndarray]:
    """The annotation ids of exchanged instances, and the probability of each instance."""
    evidence = [left_right.side_evidence(poses, flip_indices)]
    threshold = _SWAPPED_FROM
    if predictions is not None:
        passes = (
            (predictions.points, predictions.scores),
            (predictions.mirrored_points, predictions.mirrored_scores),
        )
        opinions = [left_right.model_evidence(poses, *one, flip_indices) for one in passes]
        evidence.append(np.mean(opinions, axis=0))
        threshold = _SWAPPED_FROM_WITH_MODEL
    probability = left_right.swap_probability(np.stack(evidence, axis=1))
    return {poses.people[row].id for row in np.flatnonzero(probability > threshold)}, probability


def check_leaks(train: CheckedFile, val: CheckedFile) -> list[Finding]:
    """Find images that are in both files, or nearly."""
    if train.file is None or val.file is None:
        return []
    return image_checks.check_leaks(train.file, val.file, (train.hashes, val.hashes))


def _without(file: CocoFile, image_ids: set[int]) -> CocoFile:
    return replace(file, people=tuple(one for one in file.people if one.image_id not in image_ids))
