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


def test_coco_has_17_joints_in_order() -> None:
    assert len(COCO17.joints) == len(COCO17.sigmas) == 17
    assert COCO17.joints[0] == "nose"
    assert COCO17.joints[5:7] == ("left_shoulder", "right_shoulder")
    assert COCO17.joints[16] == "right_ankle"


def test_coco_sigmas_equal_pycocotools() -> None:
    params = cocoeval.Params(iouType="keypoints")
    np.testing.assert_allclose(COCO17.sigma_array, params.kpt_oks_sigmas, rtol=1e-6)


def test_flip_swaps_left_and_right_and_keeps_the_nose() -> None:
    flip = COCO17.flip_indices
    for joint, name in enumerate(COCO17.joints):
        partner = COCO17.joints[flip[joint]]
        assert partner == name.replace("left_", "RIGHT_").replace("right_", "left_").replace(
            "RIGHT_", "right_"
        )


def test_two_flips_are_the_identity() -> None:
    flip = COCO17.flip_indices
    np.testing.assert_array_equal(flip[flip], np.arange(17))


def test_joint_without_a_partner_maps_to_itself() -> None:
    unpaired = small(joints=("neck", "left_hand", "tail"), limbs=())
    assert unpaired.flip_indices.tolist() == [0, 1, 2]


def test_limb_indices() -> None:
    assert small().limb_indices == ((0, 1),)
    assert len(COCO17.limb_indices) == 19


def test_joint_without_sigma_is_rejected() -> None:
    with pytest.raises(ValueError, match=re.escape("skeleton 'arm' has 3 joints but 2 sigmas")):
        small(sigmas=(0.1, 0.1))


@pytest.mark.parametrize("changes", [{"limbs": (("neck", "foot"),)}, {"upper_body": ("foot",)}])
def test_unknown_joint_is_rejected(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=re.escape("skeleton 'arm' has no joints named ['foot']")):
        small(**changes)
