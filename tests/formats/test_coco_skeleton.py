"""Skeletons completed from the labels of a COCO file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from drawn_objects import KINDS, write_dataset
from slimpose.formats import coco
from slimpose.formats.coco_skeleton import complete_skeleton, with_sigmas_of
from slimpose.messages import DataWarning


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(KINDS["animal"], tmp_path_factory.mktemp("animals"), 40)


def read(path: Path) -> coco.CocoFile:
    return coco.read(path, keypoints=True)


def test_sigmas_limbs_and_trunk_come_from_the_labels(animals: Path) -> None:
    found = complete_skeleton(read(animals))
    assert len(found.skeleton.sigmas) == 20
    assert len(found.skeleton.limbs) == 19
    assert 0 < len(found.skeleton.trunk) < 12
    assert found.skeleton.sigma_source == "from 40 instances of labels.json"
    assert any(line.startswith("sigmas (from 40 instances") for line in found.lines)
    assert any("eye.L 0.02" in line for line in found.lines)


def test_people_keep_cocos_sigmas(tmp_path: Path) -> None:
    """Of the person with 13 joints only the head's sigma is from the labels."""
    path = write_dataset(KINDS["person"], tmp_path, 20)
    skeleton = complete_skeleton(read(path)).skeleton
    sigmas = dict(zip(skeleton.joints, skeleton.sigmas, strict=True))
    assert sigmas["LHip"] == 0.107
    assert sigmas["RWrist"] == 0.062
    assert 0.02 < sigmas["Head"] < 0.08
    assert skeleton.sigma_source == "from 20 instances of labels.json, COCO"


def test_repeated_labels_come_first(animals: Path, tmp_path: Path) -> None:
    document = json.loads(animals.read_text())
    rng = np.random.default_rng(0)
    for one in document["annotations"]:
        keypoints = np.array(one["keypoints"]).reshape(-1, 3)
        keypoints[:, :2] += 0.02 * np.sqrt(one["area"]) * rng.normal(0, 1, (20, 2))
        one["keypoints"] = keypoints.ravel().tolist()
    other = tmp_path / "others.json"
    other.write_text(json.dumps(document))
    skeleton = complete_skeleton(read(animals), read(other)).skeleton
    # One labeler without error, one with 0.02: half of its variance for each, in two dimensions.
    np.testing.assert_allclose(np.median(skeleton.sigmas), 0.02, rtol=0.2)
    assert skeleton.sigma_source == "from 40 instances labeled twice (others.json)"


def test_repeated_labels_of_other_images_are_rejected(animals: Path, tmp_path: Path) -> None:
    document = json.loads(animals.read_text())
    for image in document["images"]:
        image["file_name"] = f"other-{image['file_name']}"
    other = tmp_path / "others.json"
    other.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="have no instance in common; expected labels of the same"):
        complete_skeleton(read(animals), read(other))


def test_names_that_contradict_the_labels_are_rejected(animals: Path, tmp_path: Path) -> None:
    """The order of the names is wrong: an eye is called hl_hoof."""
    document = json.loads(animals.read_text())
    names = document["categories"][0]["keypoints"]
    a, b = names.index("eye.L"), names.index("hl_hoof")
    names[a], names[b] = names[b], names[a]
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"labels contradict it: .*'hl_hoof' .* flip_pairs"):
        complete_skeleton(read(path))
    document["categories"][0]["flip_pairs"] = []
    path.write_text(json.dumps(document))
    complete_skeleton(read(path))  # given pairs are the user's choice


def test_joint_with_too_few_labels_is_rejected(animals: Path, tmp_path: Path) -> None:
    document = json.loads(animals.read_text())
    for one in document["annotations"]:
        one["keypoints"][2] = 0
    path = tmp_path / "few.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="keypoint 'nose' has too few labels to find its sigma"):
        complete_skeleton(read(path))


def test_single_keypoint_needs_a_given_sigma(animals: Path, tmp_path: Path) -> None:
    document = json.loads(animals.read_text())
    document["categories"][0]["keypoints"] = ["Nase"]
    for one in document["annotations"]:
        one["keypoints"] = one["keypoints"][:3]
    path = tmp_path / "one.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"'Nase' is the only one.* expected --repeated-labels"):
        complete_skeleton(read(path))
    document["categories"][0]["sigmas"] = 0.05
    path.write_text(json.dumps(document))
    assert complete_skeleton(read(path)).skeleton.sigmas == (0.05,)


def test_evaluation_takes_the_models_sigmas(animals: Path) -> None:
    file = read(animals)
    model = complete_skeleton(file).skeleton
    used = with_sigmas_of(file, model).skeleton
    assert used.sigmas == model.sigmas
    assert used.sigma_source.endswith("in the model")
    assert with_sigmas_of(file, dataclasses.replace(model, sigmas=())).skeleton.sigmas


def test_other_sigmas_of_the_file_are_reported(animals: Path) -> None:
    file = read(animals)
    model = complete_skeleton(file).skeleton
    other = dataclasses.replace(model, sigmas=tuple(2 * sigma for sigma in model.sigmas))
    with pytest.warns(DataWarning, match="differ from the model's .* computed with the file's"):
        used = with_sigmas_of(dataclasses.replace(file, skeleton=other), model)
    assert used.skeleton.sigmas == other.sigmas
