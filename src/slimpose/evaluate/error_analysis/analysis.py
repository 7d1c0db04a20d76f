"""The error budget of a pose model: where its AP is lost, by joint, by person, and by kind of error."""

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
    average_precision,
    matching_input,
    poses_by_image,
    oks,
)
from slimpose.evaluate.error_analysis.oracle import (
    KINDS,
    UNLABELED,
    Diagnosis,
    Oracle,
    diagnose,
    joint_oracles,
    oracles,
    overall_precision,
)
from slimpose.formats.coco import CocoFile
from slimpose.skeleton import Skeleton

WORST_COUNT = 24
PCK_FINE, PCK_COARSE = 0.1, 0.5
"""Distances, in roots of the person's area, within which a joint counts as found."""
_FAR = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class JointStatistics:
    """One joint. Shares are of its labels, those of people who were not found included.

    Attributes:
        name: The joint's name.
        labeled: How many people have it labeled.
        precision: COCO's AP of the same files with every other joint unlabeled.
        pck_fine: Share within PCK_FINE.
        pck_coarse: Share within PCK_COARSE.
        pck_visible: ``pck_fine`` of the labels marked visible; None where there are none.
        pck_hidden: ``pck_fine`` of the labels marked hidden.
        kinds: Share of each of KINDS.
        gain: What AP of whole poses would gain if this joint were always right in matched poses.
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
    """Somebody whose joints are far off.

    Attributes:
        image_id: The image.
        person_id: The annotation.
        oks: Of the pose that is shown; 0 where the image has none.
        joints_lost: (1 - OKS) times the labeled joints.
        is_found: Whether the pose is matched with the person; else it is the most similar one of
            the image.
        points_true: (joints, 2) image pixels.
        visibility: (joints,) 0, 1 or 2.
        box: x1, y1, x2, y2.
        points_found: (joints, 2) image pixels, None where the image has no pose.
        joint_scores: (joints,) of that pose.
        kinds: (joints,) positions in KINDS, or UNLABELED.
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
    """All of it.

    Attributes:
        skeleton: Names the joints.
        precision: Over everybody; what ``slimpose evaluate`` prints.
        poses: How many poses were compared (at most 20 an image, as COCO does).
        labeled: Labeled joints of all people.
        kinds: How many of them are of each of KINDS.
        mended: What mending each kind would bring.
        joints: By joint.
        groupings: By size, crowding, occlusion.
        worst: The worst people, worst first.
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
        """Return it as JSON can hold it; what was not measured is null."""
        document = {
            name: _plain(getattr(self, name))
            for name in ("precision", "poses", "labeled", "kinds", "oracles", "joints", "groupings")
        }
        fields = ("image_id", "person_id", "oks", "joints_lost", "is_found")
        return document | {
            "worst": [{name: getattr(one, name) for name in fields} for one in self.worst]
        }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return (
        dataclasses.asdict(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type)
        else value
    )


def analyze(annotations: CocoFile, records: Sequence[dict[str, Any]]) -> ErrorAnalysis:
    """Take the AP of COCO keypoint results apart.

    Args:
        annotations: The truth, with keypoints.
        records: COCO keypoint result records of its images.

    Raises:
        ValueError: If the file has nobody with a labeled joint.
    """
    skeleton = annotations.skeleton
    scenes = poses_by_image(annotations, records)
    precision = overall_precision(scenes, skeleton)
    if precision is None:
        raise ValueError(
            f"{annotations.path}: nobody has a labeled joint, so there is no error to analyze"
        )
    diagnoses = [diagnose(scene, skeleton) for scene in scenes]
    kinds = np.concatenate([one.kinds.ravel() for one in diagnoses])
    return ErrorAnalysis(
        skeleton=skeleton,
        precision=precision,
        poses=sum(len(scene.scores) for scene in scenes),
        labeled=int((kinds != UNLABELED).sum()),
        kinds={name: int((kinds == number).sum()) for number, name in enumerate(KINDS)},
        oracles=tuple(oracles(scenes, diagnoses, skeleton, precision.ap)),
        joints=_joint_rows(scenes, diagnoses, skeleton, precision.ap),
        groupings=groupings(annotations, scenes),
        worst=_worst(scenes, diagnoses),
    )


def _joint_rows(
    scenes: Sequence[ImagePoses], diagnoses: Sequence[Diagnosis], skeleton: Skeleton, now: float
) -> tuple[JointStatistics, ...]:
    sigmas = skeleton.sigma_array.astype(np.float64)
    gains = joint_oracles(scenes, diagnoses, skeleton, now)
    kinds = np.concatenate([one.kinds for one in diagnoses])
    labeled = kinds != UNLABELED
    hidden = np.concatenate([scene.visibility for scene in scenes]) == 1
    distance = np.concatenate([_distances(*pair) for pair in zip(scenes, diagnoses, strict=True)])
    rows: list[JointStatistics] = []
    for joint, name in enumerate(skeleton.joints):
        mine = labeled[:, joint]
        far = distance[:, joint]
        shares = {
            kind: float(_share(kinds[mine, joint] == code) or 0.0)
            for code, kind in enumerate(KINDS)
        }
        rows.append(
            JointStatistics(
                name=name,
                labeled=int(mine.sum()),
                precision=average_precision(
                    [_joint_alone(scene, joint, sigmas) for scene in scenes]
                ),
                pck_fine=_share(far[mine] <= PCK_FINE),
                pck_coarse=_share(far[mine] <= PCK_COARSE),
                pck_visible=_share(far[mine & ~hidden[:, joint]] <= PCK_FINE),
                pck_hidden=_share(far[mine & hidden[:, joint]] <= PCK_FINE),
                kinds=shares,
                gain=gains[joint].gain,
            )
        )
    return tuple(rows)


def _share(of: np.ndarray) -> float | None:
    return float(of.mean()) if len(of) else None


def _distances(scene: ImagePoses, diagnosis: Diagnosis) -> Float64[np.ndarray, "people joints"]:
    """From each joint of a person to its matched pose's, in roots of the person's area; far where there is none."""
    result = np.full(scene.visibility.shape, _FAR)
    found = np.flatnonzero(diagnosis.pose_of_person >= 0)
    away = np.linalg.norm(
        scene.points_predicted[diagnosis.pose_of_person[found]] - scene.points_true[found], axis=2
    )
    result[found] = away / np.sqrt(np.maximum(scene.areas[found], np.spacing(1)))[:, None]
    return result


def _joint_alone(
    scene: ImagePoses, joint: int, sigmas: Float64[np.ndarray, " joints"]
) -> MatchingInput:
    """The scene as COCO compares it where only one joint is labeled."""
    labeled = np.zeros_like(scene.labeled)
    labeled[:, joint] = scene.labeled[:, joint]
    return dataclasses.replace(
        matching_input(scene, sigmas),
        similarity=oks(scene, sigmas, labeled),
        is_ignored=scene.is_crowd | ~labeled.any(axis=1),
    )


def _worst(scenes: Sequence[ImagePoses], diagnoses: Sequence[Diagnosis]) -> tuple[WorstPerson, ...]:
    everybody: list[WorstPerson] = []
    for scene, diagnosis in zip(scenes, diagnoses, strict=True):
        for person in np.flatnonzero(scene.is_counted):
            pose = int(diagnosis.pose_of_person[person])
            is_found = pose >= 0
            if not is_found and len(scene.scores):
                pose = int(diagnosis.oks[:, person].argmax())
            similarity = float(diagnosis.oks[pose, person]) if pose >= 0 else 0.0
            everybody.append(
                WorstPerson(
                    image_id=scene.image_id,
                    person_id=scene.person_ids[person],
                    oks=similarity,
                    joints_lost=float((1 - similarity) * scene.labeled[person].sum()),
                    is_matched=is_found,
                    points_true=scene.points_true[person],
                    visibility=scene.visibility[person],
                    box=scene.boxes[person],
                    points_predicted=scene.points_predicted[pose] if pose >= 0 else None,
                    joint_scores=scene.joint_scores[pose] if pose >= 0 else None,
                    kinds=diagnosis.kinds[person],
                )
            )
    return tuple(sorted(everybody, key=lambda one: -one.joints_lost)[:WORST_COUNT])
