from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from pycocotools import cocoeval

from slimpose import heatmap
from slimpose.messages import DataWarning
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


def test_skeleton_is_read_back_from_json() -> None:
    for skeleton in (COCO17, small(flip_pairs=(("left_hand", "neck"),)), small(flip_pairs=())):
        assert Skeleton.from_json(skeleton.to_json()) == skeleton


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "metadata skeleton is '{'; expected JSON"),
        ("null", "metadata skeleton is None; expected an object"),
        ("{}", "metadata skeleton has no name; expected it among its fields, []"),
        (small().to_json().replace('"neck"', "7"), "metadata skeleton: joints[0] is 7; expected"),
        (small().to_json().replace("0.1", "NaN"), "metadata skeleton: sigmas is nan; expected"),
    ],
)
def test_text_that_is_no_skeleton_is_rejected(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Skeleton.from_json(text)


@pytest.mark.parametrize("sigma", [0.0, -0.1, float("nan"), float("inf"), 2.6])
def test_impossible_sigma_is_rejected(sigma: float) -> None:
    """With a sigma of nan or infinity AP is 1, whatever the poses are."""
    with pytest.raises(ValueError, match=f"the sigma of 'neck' is {sigma}; expected a number"):
        small(sigmas=(sigma, 0.1, 0.1))


def test_doubled_names_are_rejected() -> None:
    with pytest.raises(ValueError, match="has several joints named 'neck'; expected different"):
        small(joints=("neck", "neck", "left_hand"))


def test_mirroring_needs_both_sides() -> None:
    small().check_mirroring()
    with pytest.raises(ValueError, match=r"'left_hand' has a side and no partner .* flip_pairs"):
        small(joints=("neck", "left_hand", "tail"), limbs=()).check_mirroring()
    small(joints=("neck", "left_hand", "tail"), limbs=(), flip_pairs=()).check_mirroring()


def test_mirroring_without_any_sides_is_reported() -> None:
    names = {"joints": ("0", "1", "2"), "limbs": (), "upper_body": ()}
    with pytest.warns(DataWarning, match="no keypoint's name has a side"):
        small(**names).check_mirroring()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small(**names, flip_pairs=()).check_mirroring()


def test_flip_test_of_unpaired_names_is_rejected() -> None:
    skeleton = small(joints=("neck", "left_hand", "tail"), limbs=())
    with pytest.raises(ValueError, match="has a side and no partner"):
        heatmap.flip_averaged(lambda crops: crops, skeleton)  # pyright: ignore[reportArgumentType]
