"""AP in NumPy: equal to that of pycocotools, for all people, by size, and for one joint alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posed_people import person, pose, truth
from slimpose.evaluate import coco_ap
from slimpose.evaluate.error_analysis.analysis import analyze
from slimpose.evaluate.error_analysis.matching import (
    average_precision,
    matching_input,
    poses_by_image,
)
from slimpose.formats import coco
from slimpose.skeleton import COCO17


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_average_precision_equals_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    people, records = [], []
    for number in range(rng.integers(1, 6)):
        one = person(float(rng.integers(0, 800)), float(rng.integers(0, 300)))
        one[rng.random(17) < rng.random() ** 3, 2] = 0
        people.append(one)
        for _ in range(rng.integers(0 if number else 1, 3)):
            noisy = one.copy()
            noisy[:, :2] += rng.normal(
                0, 10 ** rng.uniform(-1, 1.6), (17, 1 if rng.random() < 0.5 else 2)
            )
            records.append(pose(noisy, score=float(rng.integers(1, 5)) / 5))
    areas = [float(rng.uniform(300, 60_000)) for _ in people]
    file = truth(*people, areas=areas, crowds=[0] if rng.random() < 0.2 else [])
    expected = coco_ap.average_precision(file, records, kind="keypoints")
    sigmas = np.array(COCO17.sigmas)
    images = poses_by_image(file, records)
    figure = average_precision([matching_input(image, sigmas) for image in images])
    if figure is None:
        assert not any(
            one.keypoints is not None and one.keypoints[:, 2].any()
            for one in file.people
            if not one.is_crowd
        )
        return
    assert [figure.ap, figure.ap50, figure.ap75] == pytest.approx(
        [expected[name] for name in ("AP", "AP50", "AP75")]
    )
    result = analyze(file, records)
    sizes = {row.name: row.precision for row in result.groupings[0].rows}
    for name, key in (("medium (32² to 96²)", "APM"), ("large (over 96²)", "APL")):
        size = sizes[name]
        assert (-1.0 if size is None else size.ap) == pytest.approx(expected[key])
    joint = int(rng.integers(17))
    alone = coco_ap.average_precision(with_one_joint(file, joint), records, kind="keypoints")
    row = result.joints[joint].precision
    assert (-1.0 if row is None else row.ap) == pytest.approx(alone["AP"])


def with_one_joint(file: coco.CocoFile, joint: int) -> coco.CocoFile:
    """The file with every other joint unlabeled."""
    people = []
    for one in file.people:
        assert one.keypoints is not None
        keypoints = one.keypoints.copy()
        keypoints[[other for other in range(17) if other != joint], 2] = 0
        people.append(dataclasses.replace(one, keypoints=keypoints))
    return dataclasses.replace(file, people=tuple(people))
