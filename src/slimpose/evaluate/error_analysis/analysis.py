"""Error analysis of a pose model: where AP is lost, by joint, by person, and by kind of error."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from slimpose.evaluate.error_analysis.groups import Grouping, groupings
from slimpose.evaluate.error_analysis.matching import (
    AveragePrecision,
    ImagePoses,
    MatchingInput,
    Sigmas,
    average_precision,
    matching_input,
    oks,
    poses_by_image,
)
from slimpose.evaluate.error_analysis.oracle import (
    KINDS,
    UNLABELED,
    Diagnosis,
    Oracle,
    diagnose,
    joint_gains,
    oracles,
    overall_precision,
)
from slimpose.formats.coco import CocoFile
from slimpose.skeleton import Skeleton

WORST_COUNT = 24
PCK_FINE, PCK_COARSE = 0.1, 0.5
"""Distances, in roots of the person's area, within which a joint counts as correct."""
_NO_POSE_DISTANCE = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class JointStatistics:
    """Accuracy of one joint. Shares are of its labels, also those of people that were not found.

    Attributes:
        name: The joint's name.
        labeled: Number of people that have it labeled.
        precision: COCO's AP of the same files with all other joints unlabeled.
        pck_fine: Share within PCK_FINE.
        pck_coarse: Share within PCK_COARSE.
        pck_visible: ``pck_fine`` of the labels marked visible; None without such labels.
        pck_hidden: ``pck_fine`` of the labels marked hidden; likewise.
        kinds: Share of each of KINDS.
        gain: Gain in AP of whole poses if this joint were always correct in matched poses.
    """

    name: str
    labeled: int
    precision: AveragePrecision | None
    pck_fine: float | None
    pck_coarse: float | None
    pck_visible: float | None
    pck_hidden: float | None
    kinds: dict[str, float]
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorstPerson:
    """A person with large keypoint errors.

    Attributes:
        image_id: The image.
        person_id: The annotation.
        oks: OKS of the pose that is shown; 0 if the image has none.
        joints_lost: (1 - OKS) times the number of labeled joints.
        is_matched: Whether the pose is matched with the person; otherwise it is the most similar
            pose of the image.
        points_true: (joints, 2) image pixels.
        visibility: (joints,) 0, 1 or 2.
        box: x1, y1, x2, y2.
        points_predicted: (joints, 2) image pixels, None if the image has no pose.
        joint_scores: (joints,) of that pose.
        kinds: (joints,) indices into KINDS, or UNLABELED.
    """

    image_id: int
    person_id: int
    oks: float
    joints_lost: float
    is_matched: bool
    points_true: Float64[np.ndarray, "joints 2"]
    visibility: Int64[np.ndarray, " joints"]
    box: Float64[np.ndarray, "4"]
    points_predicted: Float64[np.ndarray, "joints 2"] | None
    joint_scores: Float64[np.ndarray, " joints"] | None
    kinds: Int64[np.ndarray, " joints"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ErrorAnalysis:
    """The result of ``analyze``.

    Attributes:
        skeleton: Names the joints.
        precision: AP over all people; the figures that ``slimpose evaluate`` prints.
        poses: Number of poses evaluated (at most 20 per image, as in COCO).
        labeled: Labeled joints of all people.
        kinds: How many of them are of each of KINDS.
        oracles: AP with each kind of error fixed.
        joints: By joint.
        groupings: By size, crowding, occlusion.
        worst: The people with the largest errors, worst first.
    """

    skeleton: Skeleton
    precision: AveragePrecision
    poses: int
    labeled: int
    kinds: dict[str, int]
    oracles: tuple[Oracle, ...]
    joints: tuple[JointStatistics, ...]
    groupings: tuple[Grouping, ...]
    worst: tuple[WorstPerson, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the analysis as a JSON document; a figure that was not measured is null."""
        fields = ("image_id", "person_id", "oks", "joints_lost", "is_matched")
        return {
            "precision": dataclasses.asdict(self.precision),
            "poses": self.poses,
            "labeled": self.labeled,
            "kinds": self.kinds,
            "oracles": [dataclasses.asdict(one) for one in self.oracles],
            "joints": [dataclasses.asdict(one) for one in self.joints],
            "groupings": [dataclasses.asdict(one) for one in self.groupings],
            "worst": [{name: getattr(one, name) for name in fields} for one in self.worst],
        }


def analyze(annotations: CocoFile, records: Sequence[dict[str, Any]]) -> ErrorAnalysis:
    """Analyze where COCO keypoint result records lose AP against annotations with keypoints.

    Raises:
        ValueError: If no person of the file has a labeled joint.
    """
    skeleton = annotations.skeleton
    images = poses_by_image(annotations, records)
    precision = overall_precision(images, skeleton)
    if precision is None:
        raise ValueError(
            f"{annotations.path}: no person has a labeled joint, so there is no error to analyze"
        )
    diagnoses = [diagnose(image, skeleton) for image in images]
    kinds = np.concatenate([one.kinds.ravel() for one in diagnoses])
    return ErrorAnalysis(
        skeleton=skeleton,
        precision=precision,
        poses=sum(len(image.scores) for image in images),
        labeled=int((kinds != UNLABELED).sum()),
        kinds={name: int((kinds == index).sum()) for index, name in enumerate(KINDS)},
        oracles=tuple(oracles(images, diagnoses, skeleton, precision.ap)),
        joints=_joint_statistics(images, diagnoses, skeleton, precision.ap),
        groupings=groupings(images, skeleton),
        worst=_worst(images, diagnoses),
    )


def _joint_statistics(
    images: Sequence[ImagePoses], diagnoses: Sequence[Diagnosis], skeleton: Skeleton, now: float
) -> tuple[JointStatistics, ...]:
    sigmas = skeleton.sigma_array.astype(np.float64)
    gains = joint_gains(images, diagnoses, skeleton, now)
    all_kinds = np.concatenate([one.kinds for one in diagnoses])
    all_hidden = np.concatenate([image.visibility for image in images]) == 1
    distances = np.concatenate([_distances(*pair) for pair in zip(images, diagnoses, strict=True)])
    result: list[JointStatistics] = []
    for joint, name in enumerate(skeleton.joints):
        labeled = all_kinds[:, joint] != UNLABELED
        kinds, hidden = all_kinds[labeled, joint], all_hidden[labeled, joint]
        distance = distances[labeled, joint]
        alone = [_with_one_joint(image, joint, sigmas) for image in images]
        result.append(
            JointStatistics(
                name=name,
                labeled=int(labeled.sum()),
                precision=average_precision(alone),
                pck_fine=_share(distance <= PCK_FINE),
                pck_coarse=_share(distance <= PCK_COARSE),
                pck_visible=_share(distance[~hidden] <= PCK_FINE),
                pck_hidden=_share(distance[hidden] <= PCK_FINE),
                kinds={kind: _share(kinds == index) or 0.0 for index, kind in enumerate(KINDS)},
                gain=gains[joint],
            )
        )
    return tuple(result)


def _share(of: np.ndarray) -> float | None:
    return float(of.mean()) if len(of) else None


def _distances(image: ImagePoses, diagnosis: Diagnosis) -> Float64[np.ndarray, "people joints"]:
    """Distance of each joint to that of the matched pose, in roots of the person's area.

    It is very large for people without a pose.
    """
    result = np.full(image.visibility.shape, _NO_POSE_DISTANCE)
    matched = np.flatnonzero(diagnosis.pose_of_person >= 0)
    predicted = image.points_predicted[diagnosis.pose_of_person[matched]]
    distance_px = np.linalg.norm(predicted - image.points_true[matched], axis=2)
    size_px = np.sqrt(np.maximum(image.areas[matched], np.spacing(1)))
    result[matched] = distance_px / size_px[:, None]
    return result


def _with_one_joint(image: ImagePoses, joint: int, sigmas: Sigmas) -> MatchingInput:
    """The image as COCO evaluates it with only one joint labeled."""
    labeled = np.zeros_like(image.labeled)
    labeled[:, joint] = image.labeled[:, joint]
    return dataclasses.replace(
        matching_input(image, sigmas),
        similarity=oks(image, sigmas, labeled),
        is_ignored=image.is_crowd | ~labeled.any(axis=1),
    )


def _worst(images: Sequence[ImagePoses], diagnoses: Sequence[Diagnosis]) -> tuple[WorstPerson, ...]:
    people: list[WorstPerson] = []
    for image, diagnosis in zip(images, diagnoses, strict=True):
        for person in np.flatnonzero(image.is_counted):
            pose = int(diagnosis.pose_of_person[person])
            is_matched = pose >= 0
            if not is_matched and len(image.scores):
                pose = int(diagnosis.oks[:, person].argmax())
            similarity = float(diagnosis.oks[pose, person]) if pose >= 0 else 0.0
            people.append(
                WorstPerson(
                    image_id=image.image_id,
                    person_id=image.person_ids[person],
                    oks=similarity,
                    joints_lost=float((1 - similarity) * image.labeled[person].sum()),
                    is_matched=is_matched,
                    points_true=image.points_true[person],
                    visibility=image.visibility[person],
                    box=image.boxes[person],
                    points_predicted=image.points_predicted[pose] if pose >= 0 else None,
                    joint_scores=image.joint_scores[pose] if pose >= 0 else None,
                    kinds=diagnosis.kinds[person],
                )
            )
    return tuple(sorted(people, key=lambda one: -one.joints_lost)[:WORST_COUNT])
