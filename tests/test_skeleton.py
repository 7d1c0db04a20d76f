from __future__ import annotations

import re

import numpy as np
import pytest
from pycocotools import cocoeval

from slimpose.skeleton import COCO17, Skeleton


def small(**changes: object) -> Skeleton:
    fields: dict[str, object] = {
        "name": "arm",
        "joints": ("neck", "left_hand", "right_hand"),
        "limbs": (("neck", "left_hand"),),
        "sigmas": (0.1, 0.1, 0.1),
        "upper_body": ("neck",),
    }
    return Skeleton(**(fields | changes))  # pyright: ignore[reportArgumentType]


def test_coco_has_its_seventeen_joints_in_its_order() -> None:
    assert len(COCO17.joints) == len(COCO17.sigmas) == 17
    assert COCO17.joints[0] == "nose"
    assert COCO17.joints[5:7] == ("left_shoulder", "right_shoulder")
    assert COCO17.joints[16] == "right_ankle"


def test_coco_sigmas_are_those_of_its_evaluation_code() -> None:
    params = cocoeval.Params(iouType="keypoints")
    np.testing.assert_allclose(COCO17.sigma_array, params.kpt_oks_sigmas, rtol=1e-6)


def test_a_mirror_swaps_left_and_right_and_keeps_the_nose() -> None:
    flip = COCO17.flip_indices
    for joint, name in enumerate(COCO17.joints):
        partner = COCO17.joints[flip[joint]]
        assert partner == name.replace("left_", "RIGHT_").replace("right_", "left_").replace(
            "RIGHT_", "right_"
        )


def test_two_mirrors_change_nothing() -> None:
    flip = COCO17.flip_indices
    np.testing.assert_array_equal(flip[flip], np.arange(17))


def test_a_joint_without_a_partner_stays_itself_in_a_mirror() -> None:
    lonely = small(joints=("neck", "left_hand", "tail"), limbs=())
    assert lonely.flip_indices.tolist() == [0, 1, 2]


def test_limbs_are_drawn_between_the_joints_they_name() -> None:
    assert small().limb_indices == ((0, 1),)
    assert len(COCO17.limb_indices) == 19


def test_a_joint_without_sigma_is_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("skeleton 'arm' has 3 joints but 2 sigmas")):
        small(sigmas=(0.1, 0.1))


@pytest.mark.parametrize("changes", [{"limbs": (("neck", "foot"),)}, {"upper_body": ("foot",)}])
def test_a_limb_to_nowhere_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=re.escape("skeleton 'arm' has no joints named ['foot']")):
        small(**changes)
