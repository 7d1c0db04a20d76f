"""Kinds of keypoint errors, and AP after an oracle has fixed all errors of one kind.

Kinds after Ronchi & Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation",
ICCV 2017, section 3. There a fixed joint keeps some error (a jitter that of a good joint's limit);
here it is moved to its true position, so that the gain is an upper bound.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from slimpose.evaluate.error_analysis.matching import (
    AveragePrecision,
    ImagePoses,
    JointMask,
    PersonMask,
    PoseMask,
    Sigmas,
    average_precision,
    joint_similarities,
    match,
    matching_input,
    oks,
)
from slimpose.skeleton import Skeleton

KINDS = ("good", "jitter", "inversion", "swap", "miss", "not found")
GOOD, JITTER, INVERSION, SWAP, MISS, NOT_FOUND = range(len(KINDS))
UNLABELED = -1
FALSE_NEGATIVES, FALSE_POSITIVES, SCORING = "people not found", "false positives", "scoring"
"""Oracles about whole poses."""

GOOD_FROM = 0.85
NEAR_FROM = 0.5
MATCHED_FROM = 0.1
"""OKS from which a pose is taken as an attempt at a person, and its joints are diagnosed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Diagnosis:
    """The matching of people and poses of one image, and the error of each joint.

    Attributes:
        person_of_pose: For each pose the person it is matched with at MATCHED_FROM, or -1.
        pose_of_person: For each person the pose, or -1.
        kinds: For each person's joint an index into KINDS, or UNLABELED.
        oks: OKS of each pose to each person.
    """

    person_of_pose: Int64[np.ndarray, " poses"]
    pose_of_person: Int64[np.ndarray, " people"]
    kinds: Int64[np.ndarray, "people joints"]
    oks: Float64[np.ndarray, "poses people"]

    @property
    def is_false_positive(self) -> PoseMask:
        """Which poses are matched with no person."""
        return self.person_of_pose < 0


def diagnose(image: ImagePoses, skeleton: Skeleton) -> Diagnosis:
    """Match poses with people at OKS MATCHED_FROM and return the error kind of each labeled joint.

    The matching is greedy, as COCO does it.
    """
    sigmas = skeleton.sigma_array.astype(np.float64)
    similarity = oks(image, sigmas)
    counts = image.is_counted
    person_of_pose = match(similarity, ~counts, image.is_crowd, np.array([MATCHED_FROM]))[0]
    pose_of_person = np.full(len(counts), -1, np.int64)
    for pose, person in enumerate(person_of_pose):
        if person >= 0 and counts[person]:
            pose_of_person[person] = pose
    same, mirrored = _similarities(image, skeleton, sigmas)
    kinds = np.full(image.visibility.shape, UNLABELED, np.int64)
    for person in np.flatnonzero(counts):
        labeled, pose = image.labeled[person], pose_of_person[person]
        if pose < 0:
            kinds[person, labeled] = NOT_FOUND
            continue
        own, own_mirrored = same[pose, person], mirrored[pose, person]
        others = counts.copy()
        others[person] = False
        other = np.maximum(same[pose], mirrored[pose])[others].max(axis=0, initial=0.0)
        wrong = np.where((other > own_mirrored) & (other >= NEAR_FROM), SWAP, MISS)
        wrong = np.where((own_mirrored >= other) & (own_mirrored >= NEAR_FROM), INVERSION, wrong)
        kind = np.where(own >= GOOD_FROM, GOOD, np.where(own >= NEAR_FROM, JITTER, wrong))
        kinds[person, labeled] = kind[labeled]
    return Diagnosis(
        person_of_pose=person_of_pose, pose_of_person=pose_of_person, kinds=kinds, oks=similarity
    )


def _similarities(image: ImagePoses, skeleton: Skeleton, sigmas: Sigmas) -> tuple:
    """Similarity of each predicted joint to each person's same joint, and to its mirrored joint.

    0 where that joint is not labeled.
    """
    flip = skeleton.flip_indices
    predicted, true, areas = image.points_predicted, image.points_true, image.areas
    same = joint_similarities(predicted, true, areas, sigmas) * image.labeled
    is_partner_labeled = image.labeled[:, flip] & (flip != np.arange(len(flip)))
    mirrored = joint_similarities(predicted, true[:, flip], areas, sigmas[flip])
    return same, mirrored * is_partner_labeled


def fix_errors(image: ImagePoses, diagnosis: Diagnosis, chosen: JointMask) -> ImagePoses:
    """Return the image with the chosen joints of matched people at their true positions."""
    points = image.points_predicted.copy()
    for person in np.flatnonzero(diagnosis.pose_of_person >= 0):
        rows = chosen[person]
        points[diagnosis.pose_of_person[person], rows] = image.points_true[person, rows]
    return dataclasses.replace(image, points_predicted=points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Oracle:
    """AP after all errors of one kind are fixed.

    Attributes:
        name: What is fixed.
        count: How many joints, people or poses that is.
        total: How many joints, people or poses there are.
        fixed_ap: AP with these errors fixed, 0..1.
        gain: ``fixed_ap`` minus the AP now.
    """

    name: str
    count: int
    total: int
    fixed_ap: float
    gain: float


def oracles(
    images: Sequence[ImagePoses], diagnoses: Sequence[Diagnosis], skeleton: Skeleton, now: float
) -> list[Oracle]:
    """Return the AP with each kind of error fixed, each kind alone, by the same greedy evaluation.

    Inversions are left out for a skeleton without left and right. ``now`` is AP without any fix.
    """
    has_sides = bool((skeleton.flip_indices != np.arange(len(skeleton.joints))).any())
    wrong = [kind for kind in (JITTER, INVERSION, SWAP, MISS) if has_sides or kind != INVERSION]
    joints = sum(int(image.labeled[image.is_counted].sum()) for image in images)
    people = sum(int(image.is_counted.sum()) for image in images)
    poses = sum(len(image.scores) for image in images)
    hidden = sum(int((image.visibility[image.is_counted] == 1).sum()) for image in images)
    all_wrong = [np.isin(one.kinds, wrong) for one in diagnoses]
    wrong_hidden = [
        one & (image.visibility == 1) for one, image in zip(all_wrong, images, strict=True)
    ]
    chosen = [(KINDS[kind], joints, [one.kinds == kind for one in diagnoses]) for kind in wrong]
    chosen += [("all of these", joints, all_wrong), ("hidden joints", hidden, wrong_hidden)]
    not_found = sum(int(one.sum()) for one in map(_not_found, images, diagnoses))
    false_positives = sum(int(one.is_false_positive.sum()) for one in diagnoses)
    fixes = [
        (name, sum(int(one.sum()) for one in mask), total, map(fix_errors, images, diagnoses, mask))
        for name, total, mask in chosen
    ]
    fixes += [
        (FALSE_NEGATIVES, not_found, people, map(_add_true_poses, images, diagnoses)),
        (FALSE_POSITIVES, false_positives, poses, map(_drop_false_positives, images, diagnoses)),
        (SCORING, poses, poses, map(_score_by_oks, images, diagnoses)),
    ]
    result: list[Oracle] = []
    for name, count, total, fixed in fixes:
        precision = overall_precision(list(fixed), skeleton)
        ap = now if precision is None else precision.ap
        result.append(Oracle(name=name, count=count, total=total, fixed_ap=ap, gain=ap - now))
    return result


def joint_gains(
    images: Sequence[ImagePoses], diagnoses: Sequence[Diagnosis], skeleton: Skeleton, now: float
) -> list[float]:
    """Return, for each joint, the gain in AP if it were always correct in matched poses."""
    gains: list[float] = []
    for joint in range(len(skeleton.joints)):
        fixed = []
        for image, diagnosis in zip(images, diagnoses, strict=True):
            wrong = np.isin(diagnosis.kinds, (JITTER, INVERSION, SWAP, MISS))
            wrong[:, np.arange(len(skeleton.joints)) != joint] = False
            fixed.append(fix_errors(image, diagnosis, wrong))
        precision = overall_precision(fixed, skeleton)
        gains.append(0.0 if precision is None else precision.ap - now)
    return gains


def overall_precision(images: Sequence[ImagePoses], skeleton: Skeleton) -> AveragePrecision | None:
    """Return COCO's AP over all people; None if no person counts."""
    sigmas = skeleton.sigma_array.astype(np.float64)
    return average_precision([matching_input(image, sigmas) for image in images])


def _not_found(image: ImagePoses, diagnosis: Diagnosis) -> PersonMask:
    return image.is_counted & (diagnosis.pose_of_person < 0)


def _add_true_poses(image: ImagePoses, diagnosis: Diagnosis) -> ImagePoses:
    """Add a true pose for each person that was not found, scored above all others."""
    missing = _not_found(image, diagnosis)
    count = int(missing.sum())
    joint_scores = np.ones((count, image.joint_scores.shape[1]))
    return dataclasses.replace(
        image,
        points_predicted=np.concatenate([image.points_true[missing], image.points_predicted]),
        joint_scores=np.concatenate([joint_scores, image.joint_scores]),
        scores=np.concatenate([np.full(count, np.inf), image.scores]),
    )


def _drop_false_positives(image: ImagePoses, diagnosis: Diagnosis) -> ImagePoses:
    kept = ~diagnosis.is_false_positive
    return dataclasses.replace(
        image,
        points_predicted=image.points_predicted[kept],
        joint_scores=image.joint_scores[kept],
        scores=image.scores[kept],
    )


def _score_by_oks(image: ImagePoses, diagnosis: Diagnosis) -> ImagePoses:
    """Score every pose by its OKS to its matched person, false positives by 0."""
    rows = np.flatnonzero(~diagnosis.is_false_positive)
    scores = np.zeros(len(image.scores))
    scores[rows] = diagnosis.oks[rows, diagnosis.person_of_pose[rows]]
    return dataclasses.replace(image, scores=scores)
