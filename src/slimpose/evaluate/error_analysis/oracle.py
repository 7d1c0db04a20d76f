"""What kind of error each joint is, and what AP would be without errors of a kind.

Kinds after Ronchi & Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation",
ICCV 2017, section 3. There a mended joint keeps some error (a jitter that of a good joint's limit);
here it is put in its true place, so that a gain is the most that mending the kind can bring.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from slimpose.evaluate.error_analysis.matching import (
    AveragePrecision,
    ImagePoses,
    JointMask,
    average_precision,
    matching_input,
    joint_similarities,
    match,
    oks,
)
from slimpose.skeleton import Skeleton

KINDS = ("good", "jitter", "inversion", "swap", "miss", "not found")
GOOD, JITTER, INVERSION, SWAP, MISS, NOT_FOUND = range(len(KINDS))
UNLABELED = -1

GOOD_FROM = 0.85
NEAR_FROM = 0.5
MATCHED_FROM = 0.1
"""OKS from which a pose is taken as an attempt at a person, and its joints are diagnosed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Diagnosis:
    """What became of the people and the poses of a scene.

    Attributes:
        person_of: For each pose the person it is matched with at MATCHED_FROM, or -1.
        pose_of: For each person the pose, or -1.
        kinds: For each person's joint a position in KINDS, or UNLABELED.
        oks: Of each pose to each person.
    """

    person_of_pose: Int64[np.ndarray, " found"]
    pose_of_person: Int64[np.ndarray, " people"]
    kinds: Int64[np.ndarray, "people joints"]
    oks: Float64[np.ndarray, "found people"]

    @property
    def is_false_positive(self) -> np.ndarray:
        """(found,) which poses nobody is matched with."""
        return self.person_of_pose < 0


def diagnose(scene: ImagePoses, skeleton: Skeleton) -> Diagnosis:
    """Match poses with people greedily as COCO does, at OKS MATCHED_FROM, and tell each labeled joint's kind."""
    sigmas = skeleton.sigma_array.astype(np.float64)
    similarity = oks(scene, sigmas)
    counts = scene.is_counted
    person_of = match(similarity, ~counts, scene.is_crowd, np.array([MATCHED_FROM]))[0]
    pose_of = np.full(len(counts), -1, np.int64)
    for pose, person in enumerate(person_of):
        if person >= 0 and counts[person]:
            pose_of[person] = pose
    same, mirrored = _similarities(scene, skeleton, sigmas)
    kinds = np.full(scene.visibility.shape, UNLABELED, np.int64)
    for person in np.flatnonzero(counts):
        labeled, pose = scene.labeled[person], pose_of[person]
        if pose < 0:
            kinds[person, labeled] = NOT_FOUND
            continue
        own, turned = same[pose, person], mirrored[pose, person]
        others = counts.copy()
        others[person] = False
        another = np.maximum(same[pose], mirrored[pose])[others].max(axis=0, initial=0.0)
        wrong = np.where(another > turned, np.where(another >= NEAR_FROM, SWAP, MISS), MISS)
        wrong = np.where((turned >= another) & (turned >= NEAR_FROM), INVERSION, wrong)
        kind = np.where(own >= GOOD_FROM, GOOD, np.where(own >= NEAR_FROM, JITTER, wrong))
        kinds[person, labeled] = kind[labeled]
    return Diagnosis(person_of_pose=person_of, pose_of_person=pose_of, kinds=kinds, oks=similarity)


def _similarities(
    scene: ImagePoses, skeleton: Skeleton, sigmas: Float64[np.ndarray, " joints"]
) -> tuple:
    """Each found joint's similarity to each person's same joint and to its mirror partner, 0 where not labeled."""
    flip = skeleton.flip_indices
    same = (
        joint_similarities(scene.points_predicted, scene.points_true, scene.areas, sigmas)
        * scene.labeled
    )
    partners = scene.labeled[:, flip] & (flip != np.arange(len(flip)))
    mirrored = (
        joint_similarities(
            scene.points_predicted, scene.points_true[:, flip], scene.areas, sigmas[flip]
        )
        * partners
    )
    return same, mirrored


def fix_errors(scene: ImagePoses, diagnosis: Diagnosis, chosen: JointMask) -> ImagePoses:
    """Return the scene with the chosen joints of matched people in their true places."""
    points = scene.points_predicted.copy()
    for person in np.flatnonzero(diagnosis.pose_of_person >= 0):
        rows = chosen[person]
        points[diagnosis.pose_of_person[person], rows] = scene.points_true[person, rows]
    return dataclasses.replace(scene, points_found=points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Oracle:
    """What one mending would bring.

    Attributes:
        name: What is mended.
        count: How many joints, people or poses that is.
        of: How many there are.
        ap: What AP would become, 0..1.
        gain: By how much that is more.
    """

    name: str
    count: int
    total: int
    fixed_ap: float
    gain: float


def oracles(
    scenes: Sequence[ImagePoses], diagnoses: Sequence[Diagnosis], skeleton: Skeleton, now: float
) -> list[Oracle]:
    """Return what mending each kind of error would bring, each alone, by the same greedy evaluation.

    Inversions are left out where the skeleton has no left and right.
    """
    has_sides = bool((skeleton.flip_indices != np.arange(len(skeleton.joints))).any())
    wrong = [kind for kind in (JITTER, INVERSION, SWAP, MISS) if has_sides or kind != INVERSION]
    joints = sum(int(scene.labeled[scene.is_counted].sum()) for scene in scenes)
    people = sum(int(scene.is_counted.sum()) for scene in scenes)
    poses = sum(len(scene.scores) for scene in scenes)
    hidden = sum(int((scene.visibility[scene.is_counted] == 1).sum()) for scene in scenes)
    everything = [np.isin(diagnosis.kinds, wrong) for diagnosis in diagnoses]
    unseen = [one & (scene.visibility == 1) for one, scene in zip(everything, scenes, strict=True)]
    rows = [(KINDS[kind], [one.kinds == kind for one in diagnoses], joints) for kind in wrong]
    rows += [("all of these", everything, joints), ("hidden joints", unseen, hidden)]
    found: list[Oracle] = []
    for name, chosen, of in rows:
        mended = map(fix_errors, scenes, diagnoses, chosen)
        found.append(_row(name, sum(int(one.sum()) for one in chosen), of, mended, skeleton, now))
    changes: list[tuple[str, Callable[[ImagePoses, Diagnosis], ImagePoses], int, int]] = [
        (
            "people not found",
            _with_the_lost,
            sum(_lost(one, two).sum() for one, two in _both(scenes, diagnoses)),
            people,
        ),
        ("false poses", _without_false, sum(int(one.is_false_positive.sum()) for one in diagnoses), poses),
        ("order of the poses", _scored_by_oks, poses, poses),
    ]
    for name, change, count, of in changes:
        found.append(_row(name, int(count), of, map(change, scenes, diagnoses), skeleton, now))
    return found


def joint_oracles(
    scenes: Sequence[ImagePoses], diagnoses: Sequence[Diagnosis], skeleton: Skeleton, now: float
) -> list[Oracle]:
    """Return what it would bring if one joint were always in its true place, for each joint."""
    found: list[Oracle] = []
    for joint, name in enumerate(skeleton.joints):
        chosen = []
        for diagnosis in diagnoses:
            wrong = np.isin(diagnosis.kinds, (JITTER, INVERSION, SWAP, MISS))
            wrong[:, [other for other in range(len(skeleton.joints)) if other != joint]] = False
            chosen.append(wrong)
        labeled = sum(int(scene.labeled[scene.is_counted, joint].sum()) for scene in scenes)
        count = sum(int(one.sum()) for one in chosen)
        found.append(
            _row(name, count, labeled, map(fix_errors, scenes, diagnoses, chosen), skeleton, now)
        )
    return found


def _both(scenes: Sequence[ImagePoses], diagnoses: Sequence[Diagnosis]) -> zip:
    return zip(scenes, diagnoses, strict=True)


def _row(name: str, count: int, of: int, scenes: map, skeleton: Skeleton, now: float) -> Oracle:
    ap = overall_precision(list(scenes), skeleton)
    value = now if ap is None else ap.ap
    return Oracle(name=name, count=count, total=of, fixed_ap=value, gain=value - now)


def overall_precision(scenes: Sequence[ImagePoses], skeleton: Skeleton) -> AveragePrecision | None:
    """Return COCO's AP of everything; None where nobody is to be found."""
    sigmas = skeleton.sigma_array.astype(np.float64)
    return average_precision([matching_input(scene, sigmas) for scene in scenes])


def _lost(scene: ImagePoses, diagnosis: Diagnosis) -> np.ndarray:
    return scene.is_counted & (diagnosis.pose_of_person < 0)


def _with_the_lost(scene: ImagePoses, diagnosis: Diagnosis) -> ImagePoses:
    """Everybody who was not found gets a true pose, scored above all others."""
    lost = _lost(scene, diagnosis)
    number = int(lost.sum())
    return dataclasses.replace(
        scene,
        points_found=np.concatenate([scene.points_true[lost], scene.points_predicted]),
        joint_scores=np.concatenate(
            [np.ones((number, scene.joint_scores.shape[1])), scene.joint_scores]
        ),
        scores=np.concatenate([np.full(number, np.inf), scene.scores]),
    )


def _without_false(scene: ImagePoses, diagnosis: Diagnosis) -> ImagePoses:
    kept = ~diagnosis.is_false_positive
    return dataclasses.replace(
        scene,
        points_found=scene.points_predicted[kept],
        joint_scores=scene.joint_scores[kept],
        scores=scene.scores[kept],
    )


def _scored_by_oks(scene: ImagePoses, diagnosis: Diagnosis) -> ImagePoses:
    """Every pose scores its OKS to its own person, false ones 0."""
    rows = np.arange(len(scene.scores))
    matched = ~diagnosis.is_false_positive
    scores = np.zeros(len(rows))
    scores[matched] = diagnosis.oks[rows[matched], diagnosis.person_of_pose[matched]]
    return dataclasses.replace(scene, scores=scores)
