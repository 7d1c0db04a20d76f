"""Skeletons in COCO categories, TOML and JSON files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from slimpose.fields import Fields
from slimpose.formats.skeleton_file import read_skeleton, skeleton_of_category
from slimpose.skeleton import COCO17

JOINTS = ["base", "tip_left", "tip_right"]


def category(**fields: Any) -> Fields:
    return Fields({"id": 1, "name": "gripper", "keypoints": JOINTS, **fields}, "category 'gripper'")


def test_category_without_sigmas_has_none() -> None:
    """It had 1 / n, which no one asked for."""
    skeleton = skeleton_of_category(category())
    assert skeleton.sigmas == ()
    with pytest.raises(ValueError, match=r"'gripper' has no sigmas, which OKS needs; expected"):
        _ = skeleton.sigma_array


def test_all_parts_are_read_by_name_and_number() -> None:
    skeleton = skeleton_of_category(
        category(
            skeleton=[[1, 2], ["base", "tip_right"]],
            sigmas={"tip_left": 0.03, "base": 0.05, "tip_right": 0.03},
            flip_pairs=[[2, 3]],
            upper_body=["tip_left", 3],
            trunk=[1],
            colors=["#ff8a00", [1, 2, 3], "#00B0FF"],
        )
    )
    assert skeleton.limbs == (("base", "tip_left"), ("base", "tip_right"))
    assert skeleton.sigmas == (0.05, 0.03, 0.03)
    assert skeleton.flip_pairs == (("tip_left", "tip_right"),)
    assert skeleton.upper_body == ("tip_left", "tip_right")
    assert skeleton.trunk == ("base",)
    assert skeleton.colors == ((255, 138, 0), (1, 2, 3), (0, 176, 255))


def test_one_sigma_for_all_is_possible_if_asked_for() -> None:
    assert skeleton_of_category(category(sigmas=0.05)).sigmas == (0.05,) * 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sigmas": {"base": 0.1}}, "expected every keypoint once ('tip_left' is missing"),
        ({"sigmas": [0.1]}, "has 3 joints but 1 sigmas"),
        ({"colors": ["red", "red", "red"]}, "expected a color such as"),
        ({"colors": [[1, 2, 256]] * 3}, "expected an integer 0..255"),
        ({"trunk": ["nose"]}, "has no joints named ['nose']"),
        ({"trunk": [9]}, "expected a keypoint's name, or its number 1..3"),
        ({"skeleton": [[1, 4]]}, "expected two numbers 1..3, or two names"),
        ({"flip_pairs": [["tip_left", "tip_right", "base"]]}, "expected two numbers 1..3"),
    ],
)
def test_invalid_part_is_rejected(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        skeleton_of_category(category(**fields))


def test_file_adds_parts_to_the_skeleton_of_the_labels(tmp_path: Path) -> None:
    path = tmp_path / "skeleton.toml"
    path.write_text('flip_pairs = []\nsigmas = 0.04\nlimbs = [["base", "tip_left"]]\n')
    base = skeleton_of_category(category(trunk=["base"]))
    skeleton = read_skeleton(path, base)
    assert (skeleton.name, skeleton.joints) == ("gripper", tuple(JOINTS))
    assert (skeleton.flip_pairs, skeleton.sigmas) == ((), (0.04,) * 3)
    assert skeleton.trunk == ("base",)


def test_file_alone_is_a_skeleton(tmp_path: Path) -> None:
    path = tmp_path / "arm.toml"
    path.write_text('keypoints = ["shoulder", "hand"]\n')
    assert read_skeleton(path).name == "arm"
    as_json = tmp_path / "coco.json"
    as_json.write_text(COCO17.to_json())
    assert read_skeleton(as_json) == COCO17


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sigmas = 0.1", "has no keypoints; expected a list of their names"),
        ('keypoints = ["a"]\nflips = []', "has a field 'flips'; expected some of"),
        ('keypoints = ["a", "a"]', "has several joints named 'a'"),
        ("keypoints = 3", "expected a list of names"),
    ],
)
def test_invalid_file_is_rejected(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "skeleton.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_skeleton(path)


def test_file_of_other_keypoints_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "skeleton.json"
    path.write_text(json.dumps({"keypoints": ["a", "b"]}))
    with pytest.raises(ValueError, match="expected the same, in the same order"):
        read_skeleton(path, skeleton_of_category(category()))
