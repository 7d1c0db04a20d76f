"""What a COCO file's labels add to its skeleton: sigmas, limbs, doubts about its mirror pairs."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from slimpose.formats.coco import CocoFile, CocoPerson
from slimpose.geometry import box_iou
from slimpose.label_geometry import (
    LabeledPoints,
    asymmetry,
    doubtful_pairs,
    joint_distances,
    shortest_limbs,
    sigmas_from_labels,
    sigmas_from_repeats,
)
from slimpose.messages import DataWarning, quoted
from slimpose.skeleton import Skeleton
from slimpose.skeleton_parts import known_sigmas, with_derived_parts

_SAME_INSTANCE_IOU = 0.6
"""Least IoU of two boxes of one image that two people drew around the same instance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedSkeleton:
    """A skeleton with all its parts, and lines that describe where they come from."""

    skeleton: Skeleton
    lines: tuple[str, ...]


def labeled_points(file: CocoFile) -> LabeledPoints:
    """Return the labels of all instances with a keypoint, in the order of the file."""
    return _points([person for person in file.people if person.is_labeled and not person.is_crowd])


def complete_skeleton(file: CocoFile, repeated: CocoFile | None = None) -> CompletedSkeleton:
    """Return the file's skeleton with the parts that its labels show: sigmas and limbs.

    What is given, or known of people, stays. Sigmas are taken from ``repeated``, labels of the same
    instances by other people, for joints with enough of them; else from the file's labels
    (``label_geometry.py``).

    Raises:
        ValueError: If mirror pairs that the names show contradict the labels; if there are too few
            labels for a joint's sigma, or no instance is in both files.
    """
    skeleton, labels = file.skeleton, labeled_points(file)
    distances = joint_distances(labels)
    lines: list[str] = []
    _check_pairs(file, distances)
    limbs = () if skeleton.limbs else shortest_limbs(joint_distances(labels, quantile=0.9))
    if limbs:
        names = tuple((skeleton.joints[a], skeleton.joints[b]) for a, b in limbs)
        skeleton = with_derived_parts(dataclasses.replace(skeleton, limbs=names))
        lines.append(f"limbs: {len(names)}, the shortest that connect the labeled keypoints")
    if not skeleton.sigmas or repeated is not None:
        sigmas, source = _sigmas(file, labels, repeated)
        skeleton = dataclasses.replace(skeleton, sigmas=sigmas, sigma_source=source)
    lines.append(
        f"sigmas ({skeleton.sigma_source or 'given'}): "
        + ", ".join(f"{joint} {sigma:.3f}" for joint, sigma in _named_sigmas(skeleton))
    )
    return CompletedSkeleton(skeleton=skeleton, lines=tuple(lines))


def with_sigmas_of(file: CocoFile, model: Skeleton) -> CocoFile:
    """Return an annotation file whose skeleton has sigmas: its own, a model's, or of its labels.

    A DataWarning is issued if the file's and the model's differ: AP is computed with the file's.

    Raises:
        ValueError: If neither has sigmas and the file has too few labels to find them.
    """
    own = file.skeleton.sigmas
    if own and model.sigmas and not np.allclose(own, model.sigmas, rtol=0.01, atol=0):
        warnings.warn(
            f"{file.path}: the sigmas of {quoted(file.skeleton.name)} "
            f"({file.skeleton.sigma_source or 'given'}) differ from the model's "
            f"({model.sigma_source or 'given'}); AP is computed with the file's",
            DataWarning,
            stacklevel=2,
        )
    if own:
        return file
    skeleton = file.skeleton
    if model.sigmas:
        source = f"{model.sigma_source or 'given'}, in the model"
        skeleton = dataclasses.replace(skeleton, sigmas=model.sigmas, sigma_source=source)
    else:
        sigmas, source = _sigmas(file, labeled_points(file), None)
        skeleton = dataclasses.replace(skeleton, sigmas=sigmas, sigma_source=source)
    return dataclasses.replace(file, skeleton=skeleton)


def _named_sigmas(skeleton: Skeleton) -> list[tuple[str, float]]:
    return list(zip(skeleton.joints, skeleton.sigmas, strict=True))


def _sigmas(
    file: CocoFile, labels: LabeledPoints, repeated: CocoFile | None
) -> tuple[tuple[float, ...], str]:
    """Sigmas of repeated labels, COCO's, or of the labels, in this order; and where they are from.

    Raises:
        ValueError: If a joint has too few labels.
    """
    joints = file.skeleton.joints
    known = known_sigmas(file.skeleton)
    found = sigmas_from_labels(labels, file.skeleton.flip_indices)
    sources = dict.fromkeys(joints, f"from {len(labels.areas)} instances of {file.path.name}")
    for index, joint in enumerate(joints):
        if joint in known:
            found[index], sources[joint] = known[joint], "COCO"
    if repeated is not None:
        first, second = _repeated_labels(file, repeated)
        of_repeats = sigmas_from_repeats(first, second)
        text = f"from {len(first.areas)} instances labeled twice ({repeated.path.name})"
        for index in np.flatnonzero(np.isfinite(of_repeats)):
            found[index], sources[joints[index]] = of_repeats[index], text
    if missing := [joint for joint, sigma in zip(joints, found, strict=True) if np.isnan(sigma)]:
        reason, more = "has too few labels", "5 or more together with another keypoint's, or "
        if len(joints) == 1:  # no distances to others
            reason, more = "is the only one, with no others", "--repeated-labels, or "
        raise ValueError(
            f"{file.path}: keypoint {quoted(missing[0])} {reason} to find its sigma (OKS's "
            f"tolerance); expected {more}sigmas in skeleton.toml (COCO's are 0.025..0.107) or in "
            "the category's field sigmas"
        )
    return tuple(round(float(sigma), 4) for sigma in found), ", ".join(
        dict.fromkeys(sources.values())
    )


def _repeated_labels(file: CocoFile, other: CocoFile) -> tuple[LabeledPoints, LabeledPoints]:
    """Labels of the instances of both files: those of one image with boxes that mostly overlap.

    Raises:
        ValueError: If the joints differ, or there are none.
    """
    if other.skeleton.joints != file.skeleton.joints:
        raise ValueError(
            f"{other.path} has the keypoints {quoted(other.skeleton.joints)}; {file.path} has "
            f"{quoted(file.skeleton.joints)}: expected the same"
        )
    by_name = {
        image.file_name: other.people_by_image()[image.id] for image in other.images.values()
    }
    pairs: list[tuple[CocoPerson, CocoPerson]] = []
    for image_id, people in file.people_by_image().items():
        others = by_name.get(file.images[image_id].file_name, [])
        if not people or not others:
            continue
        iou = box_iou(_boxes(people), _boxes(others))
        for row, column in enumerate(iou.argmax(axis=1)):
            is_best = iou[:, column].argmax() == row and iou[row, column] >= _SAME_INSTANCE_IOU
            if is_best and people[row].is_labeled and others[column].is_labeled:
                pairs.append((people[row], others[column]))
    if not pairs:
        raise ValueError(
            f"{other.path} and {file.path} have no instance in common; expected labels of the same "
            "images (by file_name) with boxes that overlap"
        )
    return _points([first for first, _ in pairs]), _points([second for _, second in pairs])


def _boxes(people: list[CocoPerson]) -> np.ndarray:
    return np.stack([person.box_image for person in people])


def _points(people: list[CocoPerson]) -> LabeledPoints:
    keypoints = [person.keypoints for person in people if person.keypoints is not None]
    all_keypoints = np.stack(keypoints).astype(np.float64) if keypoints else np.zeros((0, 0, 3))
    return LabeledPoints(
        points=all_keypoints[..., :2],
        labeled=all_keypoints[..., 2] > 0,
        areas=np.array([max(person.area, 1.0) for person in people], np.float64),
    )


def _check_pairs(file: CocoFile, distances: Float64[np.ndarray, "joints joints"]) -> None:
    """Check that mirror pairs found from names are at similar distances to the other joints.

    Raises:
        ValueError: If some are not.
    """
    skeleton = file.skeleton
    if skeleton.flip_pairs is not None:
        return
    doubtful = doubtful_pairs(distances, skeleton.flip_indices)
    if not doubtful:
        return
    pairs = ", ".join(
        f"{quoted(skeleton.joints[a])} with {quoted(skeleton.joints[b])} "
        f"(distances to the others differ by {asymmetry(distances, a, b):.0%})"
        for a, b in doubtful[:4]
    )
    raise ValueError(
        f"{file.path}: by their names these keypoints exchange places in mirrored images, but the "
        f"labels contradict it: {pairs}; expected mirror images of each other (is an order of "
        "keypoints wrong?), or the right pairs in flip_pairs of the category or of skeleton.toml "
        "([] for none)"
    )
