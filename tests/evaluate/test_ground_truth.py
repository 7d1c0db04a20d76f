"""Annotation files that a pose model may be evaluated on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from drawn_objects import KINDS, write_dataset
from slimpose.arrays import Size
from slimpose.evaluate.pose import read_ground_truth
from slimpose.runtime.session import ModelInfo
from slimpose.skeleton import COCO17, Skeleton
from slimpose.skeleton_parts import with_derived_parts


def info(skeleton: Skeleton) -> ModelInfo:
    return ModelInfo(
        name="model", task="pose", size=Size(64, 64), stride=4, precision="fp32", gmac=0.1,
        params=1, card={}, skeleton=skeleton, fit="letterbox", score_threshold=0.3,
        nms_iou_threshold=0.6,
    )  # fmt: skip


def test_people_in_another_naming_are_evaluated(tmp_path: Path) -> None:
    """A model with COCO's names on labels such as LShoulder."""
    path = write_dataset(KINDS["person"], tmp_path, 2)
    model = dataclasses.replace(
        with_derived_parts(Skeleton(name="13", joints=("head", *COCO17.joints[5:]))),
        sigmas=(0.05, *COCO17.sigmas[5:]),
    )
    truth = read_ground_truth(path, info(model)).file
    assert truth.skeleton.joints == KINDS["person"].joints
    assert truth.skeleton.sigmas == model.sigmas
    swapped = (model.joints[0], model.joints[2], model.joints[1], *model.joints[3:])
    with pytest.raises(ValueError, match=r"head, right_shoulder, .* expected the same, in the"):
        read_ground_truth(path, info(dataclasses.replace(model, joints=swapped)))


def test_files_sigmas_come_first(tmp_path: Path) -> None:
    path = write_dataset(KINDS["shears"], tmp_path, 6)
    document = json.loads(path.read_text())
    document["categories"][0]["sigmas"] = 0.04
    path.write_text(json.dumps(document))
    model = Skeleton(name="shears", joints=KINDS["shears"].joints)
    assert read_ground_truth(path, info(model)).file.skeleton.sigmas == (0.04,) * 5
