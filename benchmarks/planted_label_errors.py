"""Plant errors of six kinds into clean labels and count how many ``slimpose check`` finds.

    python benchmarks/planted_label_errors.py FILE --errors 1000 [--images DIR --model mnv2]
        [--min-agreement 0.8] [--source coco]

Scenes of up to four instances are made of the file's instances, side by side as in a crowd (only
labels are moved, so with ``--model`` the instances stay where they are). The kinds:

- swap: left and right of a whole instance exchanged;
- off body: one joint moved 0.7 to 1.5 extents away from the instance;
- limb length: one joint moved to another place in the instance's box, half its extent or more away;
- duplicate: an instance labeled twice, the second time with deviations of 2 % of its size;
- merged or split: the lower half of the joints of a neighbor's; or the joints in two instances;
- box cuts joints: the box cut to 50 to 75 % along one axis.

A found error is one of its kind in its annotation (of a split or duplicate one of the two).
Precision counts findings of a kind in instances without a planted error as false, also those that
were wrong in the file before; findings of another kind in a planted instance are counted apart.
The last line is JSON: figures, versions, commit.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import machine
import numpy as np

from slimpose.cli.arguments import run
from slimpose.formats import coco
from slimpose.formats.coco import CocoFile, CocoPerson
from slimpose.formats.files import read_json
from slimpose.labels.checks import with_model
from slimpose.labels.checks.check import check_poses
from slimpose.labels.checks.findings import Finding
from slimpose.labels.checks.pose_arrays import PoseArrays

KINDS = ("swap", "off body", "limb length", "duplicate", "merged or split", "box cuts joints")
_MIN_JOINTS = 5
_PER_SCENE = 4
_MIN_PAIRED = 4


def main(
    annotations: Path,
    /,
    errors: int = 1000,
    images: Path | None = None,
    model: str | None = None,
    source: str | None = None,
    min_agreement: float = 0.0,
    leave_out: str = "",
    rounds: int = 1,
    seed: int = 0,
) -> None:
    """Plant errors and print precision and recall by kind.

    Args:
        annotations: COCO file with clean labels.
        errors: Errors to plant, a sixth of each kind.
        images: Folder of its images, with --model.
        model: Pose model whose predictions are used too.
        source: Only instances of this source (the field of the file).
        min_agreement: Only instances with at least this teacher_agreement (the field of the file).
        leave_out: Annotation ids, with commas between, whose labels are wrong in the file itself.
        rounds: Plant so often, each time other errors into the clean labels.
        seed: Of the random choices.
    """
    document = read_json(annotations, kind="annotation file")
    file = coco.parse(document, annotations, keypoints=True, areas=False)
    people = [
        one
        for one in file.people
        if one.is_labeled
        and not one.is_crowd
        and one.keypoints is not None
        and (one.keypoints[:, 2] > 0).sum() >= _MIN_JOINTS
        and str(one.id) not in leave_out.split(",")
        and (source is None or one.source == source)
        and (min_agreement == 0 or one.teacher_agreement >= min_agreement)
    ]
    file = dataclasses.replace(file, people=tuple(people))
    predictions = _predictions(file, images, model) if model and images else None
    if predictions is None:
        file = as_scenes(file, np.random.default_rng(seed))
    tables = []
    for number in range(rounds):
        generator = np.random.default_rng(seed + number)
        planted, truth = plant(file, errors // rounds, generator)
        moved = None if predictions is None else _for_planted(predictions, file, planted)
        findings = check_poses(PoseArrays.of(planted), planted, moved)
        tables.append(score(findings, truth))
    figures = _sum(tables)
    print(f"{len(people)} clean instances, {errors} errors planted in {rounds} rounds")
    for kind in KINDS:
        one = figures[kind]
        print(
            f"{kind:>16}: planted {one['planted']:4d}  precision {100 * one['precision']:5.1f}  "
            f"recall {100 * one['recall']:5.1f}  found as another kind {one['other_kind']}"
        )
    about = {"people": len(people), "file": str(annotations), "model": model, "rounds": rounds}
    print(json.dumps({**machine.about(), **about, "kinds": figures}))


def as_scenes(file: CocoFile, generator: np.random.Generator) -> CocoFile:
    """Put instances of several images into one: neighbors that touch, or overlap by up to 30 %."""
    people: list[CocoPerson] = []
    images: dict[int, coco.CocoImage] = {}
    order = generator.permutation(len(file.people))
    for scene, start in enumerate(range(0, len(order), _PER_SCENE), start=1):
        x = 10.0
        for row in order[start : start + _PER_SCENE]:
            person = file.people[row]
            assert person.keypoints is not None
            width = float(person.box_image[2] - person.box_image[0])
            shift = np.array([x - person.box_image[0], 200 - person.box_image[1]], np.float32)
            keypoints = person.keypoints.copy()
            keypoints[:, :2] += shift
            box = person.box_image + np.tile(shift, 2)
            people.append(
                dataclasses.replace(person, image_id=scene, keypoints=keypoints, box_image=box)
            )
            x += width * generator.uniform(0.7, 1.2)
        images[scene] = coco.CocoImage(id=scene, file_name=f"{scene}.png", height=4000, width=9000)
    return dataclasses.replace(file, people=tuple(people), images=images)


def plant(
    file: CocoFile, count: int, generator: np.random.Generator
) -> tuple[CocoFile, dict[int, tuple[str, int]]]:
    """Return a file with errors, and by annotation id the kind and number of its error."""
    flip = file.skeleton.flip_indices
    has_sides = (flip != np.arange(len(flip))).sum() >= _MIN_PAIRED
    kinds = KINDS if has_sides else KINDS[1:]
    people = {one.id: one for one in file.people}
    by_image: dict[int, list[int]] = {}
    for one in file.people:
        by_image.setdefault(one.image_id, []).append(one.id)
    truth: dict[int, tuple[str, int]] = {}
    free_id = max(people) + 1
    order = [int(number) for number in generator.permutation(list(people))]
    added: list[CocoPerson] = []
    number = 0
    for identity in order:
        if number >= count:
            break
        kind = kinds[number % len(kinds)]
        person = people[identity]
        neighbors = [one for one in by_image[person.image_id] if one != identity]
        if identity in truth:
            continue
        if kind == "merged or split" and number % 12 < 6:
            free = [one for one in neighbors if one not in truth]
            if not free:
                kind = "split"
            else:
                other = people[free[0]]
                changed = _merged(person, other)
                if changed is None:
                    continue
                people[identity] = changed
                truth[identity] = truth[other.id] = ("merged or split", number)
                number += 1
                continue
        if kind in ("merged or split", "split"):
            halves = _split(person, free_id)
            if halves is None:
                continue
            people[identity] = halves[0]
            added.append(halves[1])
            truth[identity] = truth[free_id] = ("merged or split", number)
            free_id += 1
        elif kind == "duplicate":
            added.append(_duplicate(person, free_id, generator))
            truth[identity] = truth[free_id] = ("duplicate", number)
            free_id += 1
        else:
            changed = {"swap": _swap, "off body": _off_body}.get(kind, _misplace)
            if kind == "box cuts joints":
                changed = _cut_box
            result = changed(person, flip, generator)
            if result is None:
                continue
            people[identity] = result
            truth[identity] = (kind, number)
        number += 1
    return dataclasses.replace(file, people=(*people.values(), *added)), truth


def score(findings: list[Finding], truth: dict[int, tuple[str, int]]) -> dict[str, dict[str, Any]]:
    """Return counts by kind: planted, found, false, found as another kind."""
    table: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        planted = {number for name, number in truth.values() if name == kind}
        of_kind = [one for one in findings if one.kind == kind]
        found, false = set(), set()
        for one in of_kind:
            name, number = truth.get(one.annotation_id or -1, ("", -1))
            if name == kind:
                found.add(number)
            elif not name:
                false.add(one.annotation_id)
        others = {
            truth[one.annotation_id][1]
            for one in findings
            if one.annotation_id in truth
            and truth[one.annotation_id][0] == kind
            and one.kind != kind
        }
        table[kind] = {
            "planted": len(planted),
            "found": len(found),
            "false": len(false),
            "other_kind": len(others - found),
        }
    return table


def _sum(tables: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    total = {}
    for kind in KINDS:
        sums: dict[str, float] = {
            key: sum(table[kind][key] for table in tables) for key in tables[0][kind]
        }
        sums["precision"] = sums["found"] / max(1, sums["found"] + sums["false"])
        sums["recall"] = sums["found"] / max(1, sums["planted"])
        total[kind] = sums
    return total


def _keypoints(person: CocoPerson) -> np.ndarray:
    assert person.keypoints is not None
    return person.keypoints.copy()


def _extent(keypoints: np.ndarray) -> float:
    points = keypoints[keypoints[:, 2] > 0, :2]
    return float(np.linalg.norm(np.ptp(points, axis=0)))


def _swap(person: CocoPerson, flip: np.ndarray, generator: np.random.Generator) -> Any:
    del generator
    keypoints = _keypoints(person)
    paired = (keypoints[:, 2] > 0) & (flip != np.arange(len(flip)))
    if paired.sum() < _MIN_PAIRED:
        return None
    return dataclasses.replace(person, keypoints=keypoints[flip])


def _off_body(person: CocoPerson, flip: np.ndarray, generator: np.random.Generator) -> Any:
    del flip
    keypoints = _keypoints(person)
    joint = int(generator.choice(np.flatnonzero(keypoints[:, 2] > 0)))
    center = keypoints[keypoints[:, 2] > 0, :2].mean(axis=0)
    angle = generator.uniform(0, 2 * np.pi)
    away = (0.7 + generator.uniform(0.5, 1.3)) * _extent(keypoints)
    keypoints[joint, :2] = center + away * np.array([np.cos(angle), np.sin(angle)])
    return dataclasses.replace(person, keypoints=keypoints)


def _misplace(person: CocoPerson, flip: np.ndarray, generator: np.random.Generator) -> Any:
    del flip
    keypoints = _keypoints(person)
    joint = int(generator.choice(np.flatnonzero(keypoints[:, 2] > 0)))
    low, high = person.box_image[:2], person.box_image[2:]
    for _ in range(50):
        point = generator.uniform(low, high)
        if np.linalg.norm(point - keypoints[joint, :2]) > 0.5 * _extent(keypoints):
            keypoints[joint, :2] = point
            return dataclasses.replace(person, keypoints=keypoints)
    return None


def _duplicate(person: CocoPerson, number: int, generator: np.random.Generator) -> CocoPerson:
    keypoints = _keypoints(person)
    size = float(np.sqrt(np.prod(person.box_image[2:] - person.box_image[:2])))
    keypoints[:, :2] += generator.normal(0, 0.02 * size, (len(keypoints), 2))
    box = person.box_image + generator.normal(0, 0.02 * size, 4)
    return dataclasses.replace(
        person, id=number, keypoints=keypoints, box_image=box.astype(np.float32)
    )


def _merged(person: CocoPerson, other: CocoPerson) -> CocoPerson | None:
    """The person with the neighbor's lower half of the joints."""
    keypoints, neighbor = _keypoints(person), _keypoints(other)
    both = np.flatnonzero((keypoints[:, 2] > 0) & (neighbor[:, 2] > 0))
    half = both[len(both) // 2 :]
    if len(half) < 3:
        return None
    keypoints[half] = neighbor[half]
    return dataclasses.replace(person, keypoints=keypoints)


def _split(person: CocoPerson, number: int) -> tuple[CocoPerson, CocoPerson] | None:
    """Two instances of the upper and the lower half of the joints, each with its own box."""
    keypoints = _keypoints(person)
    labeled = np.flatnonzero(keypoints[:, 2] > 0)
    if len(labeled) < 6:
        return None
    halves = []
    for identity, part in ((person.id, labeled[: len(labeled) // 2]), (number, None)):
        own = labeled[len(labeled) // 2 :] if part is None else part
        points = np.zeros_like(keypoints)
        points[own] = keypoints[own]
        low, high = points[own, :2].min(0) - 3, points[own, :2].max(0) + 3
        box = np.concatenate([low, high]).astype(np.float32)
        halves.append(dataclasses.replace(person, id=identity, keypoints=points, box_image=box))
    return halves[0], halves[1]


def _cut_box(person: CocoPerson, flip: np.ndarray, generator: np.random.Generator) -> Any:
    del flip
    box = person.box_image.copy()
    axis, keep = int(generator.integers(2)), generator.uniform(0.5, 0.75)
    extent = box[2 + axis] - box[axis]
    if generator.random() < 0.5:
        box[2 + axis] = box[axis] + keep * extent
    else:
        box[axis] = box[2 + axis] - keep * extent
    keypoints = _keypoints(person)
    labeled = keypoints[keypoints[:, 2] == 2, :2]
    margin = 0.2 * np.sqrt(np.prod(box[2:] - box[:2]))
    cut = ((labeled < box[:2] - margin) | (labeled > box[2:] + margin)).any()
    return dataclasses.replace(person, box_image=box) if cut else None


def _predictions(file: CocoFile, images: Path, model: str) -> with_model.Predictions:
    import slimpose

    estimator = slimpose.load(model, None, threads=1).estimator
    return with_model.predict(PoseArrays.of(file), file, images, estimator)


def _for_planted(
    predictions: with_model.Predictions, clean: CocoFile, planted: CocoFile
) -> with_model.Predictions:
    """The predictions of the clean boxes for the planted instances.

    An approximation: a model sees the same person in the box of a duplicate or of a half.
    """
    rows = {person.id: row for row, person in enumerate(PoseArrays.of(clean).people)}
    nearest = []
    for person in PoseArrays.of(planted).people:
        row = rows.get(person.id)
        if row is None:  # a second instance of an image: that of the first one
            same = [one for one in clean.people if one.image_id == person.image_id]
            gaps = [float(np.abs(one.box_image - person.box_image).sum()) for one in same]
            row = rows[same[int(np.argmin(gaps))].id]
        nearest.append(row)
    return predictions.of_rows(nearest)


if __name__ == "__main__":
    run(main, sys.argv[1:], prog=sys.argv[0])
