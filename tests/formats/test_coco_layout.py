"""Finding the parts of a COCO folder, and ``slimpose train --coco``."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from run_cli import json_lines
from run_main import run_main
from slimpose.formats import coco, coco_layout
from slimpose.formats.coco_layout import CocoLayout


def write_layout(root: Path, *, images: str = "") -> Path:
    """A COCO folder with empty annotation files and image folders."""
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        (root / "annotations" / f"person_keypoints_{split}2017.json").write_text("{}")
        (root / images / f"{split}2017").mkdir(parents=True)
    return root


@pytest.mark.parametrize("images", ["", "images"])
def test_image_folders_are_found_in_the_root_or_under_images(tmp_path: Path, images: str) -> None:
    root = write_layout(tmp_path / "coco", images=images)
    assert coco_layout.find(root) == CocoLayout(
        train=root / "annotations" / "person_keypoints_train2017.json",
        train_images=root / images / "train2017",
        val=root / "annotations" / "person_keypoints_val2017.json",
        val_images=root / images / "val2017",
    )


def test_all_missing_parts_are_reported_with_download_addresses(tmp_path: Path) -> None:
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
    reported = str(raised.value)
    assert sorted(reported.removeprefix(f"{root} lacks ").split("; ")) == sorted(
        message.removeprefix(f"{root} lacks ").split("; ")
    )


def test_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match=re.escape(f"no COCO folder {tmp_path / 'coco'}")):
        coco_layout.find(tmp_path / "coco")


def test_missing_images_are_counted(tmp_path: Path, document: dict[str, Any]) -> None:
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
        FileNotFoundError, match=r"lacks 2 of the 4 images of people\.json; the first is 1\.png"
    ):
        coco_layout.check_all_images_exist(annotations, folder)
    for i in (1, 3):
        (folder / f"{i}.png").touch()
    coco_layout.check_all_images_exist(annotations, folder)


# a list of images without annotations


def test_image_list_has_images_and_no_people(document: dict[str, Any]) -> None:
    del document["annotations"], document["categories"][0]["keypoints"]
    listed = coco.parse_images(document, Path("list.json"))
    assert (list(listed.images), listed.people, listed.category_id) == ([7], (), 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document: document.pop("images"), "expected images and categories"),
        (lambda document: document["images"][0].pop("height"), "image 7 has no height"),
        (
            lambda document: document["images"].append(document["images"][0]),
            "image id 7 is duplicated",
        ),
        (lambda document: document.update(images=[3]), "list.json"),
        (
            lambda document: document.update(
                categories=[{"id": 1, "name": "car"}, {"id": 2, "name": "bus"}]
            ),
            "list.json: 2 categories may be the people: 1 'car' (0 annotations), 2 'bus'",
        ),
    ],
)
def test_invalid_image_list_is_rejected(
    document: dict[str, Any], change: Any, message: str
) -> None:
    change(document)
    with pytest.raises(ValueError, match=re.escape(message)):
        coco.parse_images(document, Path("list.json"))


# slimpose train


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """A training command on a small COCO folder; a random start, so nothing is downloaded."""
    import tiny_training

    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        folder = root / f"{split}2017"
        folder.mkdir()
        tiny_training.write_people(folder)
        (folder / "people.json").rename(root / "annotations" / f"person_keypoints_{split}2017.json")
    options = f"--start random --out {tmp_path / 'run'} --batch 2 --threads 1"
    return f"train paper-r18-16 --coco {root} {options}".split()


def test_paper_recipe_trains_on_a_coco_folder(command: list[str], tmp_path: Path) -> None:
    length = 2 * 2 / (140 * 6)  # two steps of two people, of 140 epochs of 6 people
    assert run_main(*command, "--length", length) == 0
    records = json_lines((tmp_path / "run" / "metrics.jsonl").read_text())
    assert [(record["step"], record["samples"]) for record in records] == [(0, 2), (1, 4)]
    from slimpose.network.weights import read_metadata
    from slimpose.train.run import BEST

    metadata = read_metadata(tmp_path / "run" / BEST)
    assert metadata["start"] == "random"
    assert metadata["train_file"] == "person_keypoints_train2017.json"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--train", "x.json"), "--coco contains all data; leave out --train"),
        (("--batch", "-1"), "--batch -1"),
        (("--accumulate", "0"), "--accumulate is 0; expected 1..1024"),
        (("--workers", "99999999999"), "--workers is 99999999999; expected 1..1024"),
        (("--stop-after-minutes=-inf",), "--stop-after-minutes is -inf; expected 0 or more"),
        (
            ("--start", "nowhere"),
            "no start file nowhere (expected a file, one of detector",
        ),
        (
            ("--precision", "fp16"),
            "fp16 needs a GPU, and there is none here; expected fp32, or bf16",
        ),
    ],
)
def test_conflicting_options_are_rejected(
    command: list[str], options: tuple[str, ...], message: str, capsys: Any
) -> None:
    import torch

    if "fp16" in options and torch.cuda.is_available():
        pytest.skip("this machine can compute in FP16")
    if "--start" in options:
        command = [word for word in command if word not in ("--start", "random")]
    assert run_main(*command, *options) == 2
    assert message in capsys.readouterr().err


def test_coco_folder_or_separate_files_are_required(command: list[str], capsys: Any) -> None:
    at = command.index("--coco")
    assert run_main(*command[:at], *command[at + 2 :], "--train", "a.json") == 2
    expected = (
        "--images missing; expected --coco FOLDER, or --train, --images, --val, --val-images "
        "(without the last two, images of --train are held out)"
    )
    assert expected in capsys.readouterr().err
