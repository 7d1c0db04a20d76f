"""Finding the parts of a COCO 2017 folder; errors name what is missing and where to download it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from slimpose.formats.coco import CocoFile

_SITE = "http://images.cocodataset.org"
_ANNOTATIONS_ZIP = f"{_SITE}/annotations/annotations_trainval2017.zip"


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoLayout:
    """The annotation files and image folders of COCO 2017 keypoints."""

    train: Path
    train_images: Path
    val: Path
    val_images: Path


def find(root: Path) -> CocoLayout:
    """Find the parts of COCO in a folder.

    Expected are ``annotations/person_keypoints_{train,val}2017.json``, and ``{train,val}2017/``
    there or under ``images/``.

    Raises:
        NotADirectoryError: If there is no such folder.
        FileNotFoundError: If parts are missing; the message names all of them, and the archives
            that contain them.
    """
    if not root.is_dir():
        raise NotADirectoryError(f"no COCO folder {root}")
    missing: list[str] = []

    def annotations(split: str) -> Path:
        path = root / "annotations" / f"person_keypoints_{split}2017.json"
        if not path.is_file():
            missing.append(f"{path.relative_to(root)} (in {_ANNOTATIONS_ZIP})")
        return path

    def images(split: str) -> Path:
        for folder in (root / f"{split}2017", root / "images" / f"{split}2017"):
            if folder.is_dir():
                return folder
        missing.append(f"{split}2017/ or images/{split}2017/ ({_SITE}/zips/{split}2017.zip)")
        return root / f"{split}2017"

    layout = CocoLayout(
        train=annotations("train"),
        train_images=images("train"),
        val=annotations("val"),
        val_images=images("val"),
    )
    if missing:
        raise FileNotFoundError(f"{root} lacks {'; '.join(missing)}")
    return layout


def check_all_images_exist(annotations: CocoFile, folder: Path) -> None:
    """Check that all images of an annotation file exist directly in a folder.

    The folder is listed once: faster than checking 118,287 files one by one, above all on a network
    disk.

    Raises:
        FileNotFoundError: If some are missing; the message has their number and the first.
    """
    with os.scandir(folder) as entries:
        present = {entry.name for entry in entries}
    missing = [
        image.file_name for image in annotations.images.values() if image.file_name not in present
    ]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {len(missing)} of the {len(annotations.images)} images of "
            f"{annotations.path.name}; the first is {missing[0]} "
            f"(an unfinished download? {_SITE}/zips/{folder.name}.zip contains them)"
        )
