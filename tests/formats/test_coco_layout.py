"""Finding COCO in its usual folder, and ``slimpose train`` on it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from slimpose.formats import coco, coco_layout
from slimpose.formats.coco_layout import CocoLayout


def write_layout(root: Path, *, images: str = "") -> Path:
    """COCO's folder with one picture's name a split."""
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        (root / "annotations" / f"person_keypoints_{split}2017.json").write_text("{}")
        (root / images / f"{split}2017").mkdir(parents=True)
    return root


@pytest.mark.parametrize("images", ["", "images"])
def test_pictures_are_found_beside_the_annotations_or_under_images(
    tmp_path: Path, images: str
) -> None:
    root = write_layout(tmp_path / "coco", images=images)
    assert coco_layout.find(root) == CocoLayout(
        train=root / "annotations" / "person_keypoints_train2017.json",
        train_images=root / images / "train2017",
        val=root / "annotations" / "person_keypoints_val2017.json",
        val_images=root / images / "val2017",
    )


def test_all_that_is_missing_is_told_at_once_with_where_it_is_to_be_had(tmp_path: Path) -> None:
    root = write_layout(tmp_path / "coco")
    (root / "annotations" / "person_keypoints_val2017.json").unlink()
    shutil.rmtree(root / "train2017")
    message = (
        f"{root} lacks annotations/person_keypoints_val2017.json (in http://images.cocodataset.org/annotations/"
        "annotations_trainval2017.zip); train2017/ or images/train2017/ (http://images.cocodataset.org/zips/"
        "train2017.zip)"
    )
    with pytest.raises(FileNotFoundError) as raised:
        coco_layout.find(root)
    told = str(raised.value)
    assert sorted(told.removeprefix(f"{root} lacks ").split("; ")) == sorted(
        message.removeprefix(f"{root} lacks ").split("; ")
    )


def test_no_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match=re.escape(f"no COCO folder {tmp_path / 'coco'}")):
        coco_layout.find(tmp_path / "coco")


def test_pictures_that_are_not_there_are_counted(tmp_path: Path, document: dict[str, Any]) -> None:
    document["images"] = [
        {**document["images"][0], "id": i, "file_name": f"{i}.png"} for i in range(4)
    ]
    document["annotations"] = []
    annotations = coco.parse(document, tmp_path / "people.json", keypoints=True)
    folder = tmp_path / "train2017"
    folder.mkdir()
    for i in (0, 2):
        (folder / f"{i}.png").touch()
    with pytest.raises(
        FileNotFoundError, match=r"lacks 2 of the 4 pictures of people\.json, 1\.png the first"
    ):
        coco_layout.check_images(annotations, folder)
    for i in (1, 3):
        (folder / f"{i}.png").touch()
    coco_layout.check_images(annotations, folder)


# a list of images without annotations


def test_an_image_list_has_images_and_nobody(document: dict[str, Any]) -> None:
    del document["annotations"], document["categories"][0]["keypoints"]
    listed = coco.parse_images(document, Path("list.json"))
    assert (list(listed.images), listed.people, listed.category_id) == ([7], (), 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document: document.pop("images"), "expected images and categories"),
        (lambda document: document["images"][0].pop("height"), "lacks the field 'height'"),
        (
            lambda document: document["images"].append(document["images"][0]),
            "image id 7 stands twice",
        ),
        (lambda document: document.update(images=[3]), "list.json"),
        (
            lambda document: document.update(categories=[{"name": "car"}, {"name": "bus"}]),
            "list.json: no category is",
        ),
    ],
)
def test_a_broken_image_list_is_refused(
    document: dict[str, Any], change: Any, message: str
) -> None:
    change(document)
    with pytest.raises(ValueError, match=re.escape(message)):
        coco.parse_images(document, Path("list.json"))


# slimpose train


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The command that trains on a small COCO folder for a step, and never on the network."""
    import tiny_training

    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        folder = root / f"{split}2017"
        folder.mkdir()
        tiny_training.write_people(folder)
        (folder / "people.json").rename(root / "annotations" / f"person_keypoints_{split}2017.json")
    run = tmp_path / "run"
    return (
        f"train paper-r18-16 --coco {root} --start random --out {run} --batch 2 --threads 1".split()
    )


def run(*words: str) -> int:
    from slimpose.cli.main import main

    with pytest.raises(SystemExit) as stopped:
        main(list(words))
    return int(stopped.value.code or 0)


def test_a_paper_recipe_trains_on_the_folder_alone(words: list[str], tmp_path: Path) -> None:
    steps = 2
    assert (
        run(*words, "--length", str(2 * steps / (140 * 6))) == 0
    )  # 140 epochs of 6 people, two a step
    records = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [(record["step"], record["samples"]) for record in records] == [(0, 2), (1, 4)]
    from slimpose.network.weights import read_metadata
    from slimpose.train.run import BEST

    metadata = read_metadata(tmp_path / "run" / BEST)
    assert metadata["start"] == "random"
    assert metadata["train_file"] == "person_keypoints_train2017.json"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--train", "x.json"), "--coco contains all data; leave out --train"),
        (("--batch", "-1"), "--batch -1"),
        (("--accumulate", "0"), "--accumulate is 0, --workers 1; expected 1 or more"),
        (
            ("--start", "nowhere"),
            "no start file nowhere (expected a file, or the words imagenet or random)",
        ),
        (
            ("--precision", "fp16"),
            "fp16 needs a GPU, and there is none here; expected fp32, or bf16",
        ),
    ],
)
def test_what_does_not_fit_is_told(
    words: list[str], more: tuple[str, ...], message: str, capsys: Any
) -> None:
    import torch

    if "fp16" in more and torch.cuda.is_available():
        pytest.skip("this machine can compute in FP16")
    if "--start" in more:
        words = [word for word in words if word not in ("--start", "random")]
    assert run(*words, *more) == 2
    assert message in capsys.readouterr().err


def test_data_come_by_folder_or_file_by_file(words: list[str], capsys: Any) -> None:
    at = words.index("--coco")
    assert run(*words[:at], *words[at + 2 :], "--train", "a.json", "--images", "b") == 2
    expected = "--val, --val-images missing; expected --coco FOLDER, or --train, --images, --val, --val-images"
    assert expected in capsys.readouterr().err
