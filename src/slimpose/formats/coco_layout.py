"""The usual folder of COCO 2017: finding its parts, and saying what is missing and where it is to be had."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from slimpose.formats.coco import CocoFile

_SITE = "http://images.cocodataset.org"
_ANNOTATIONS_ZIP = f"{_SITE}/annotations/annotations_trainval2017.zip"


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoLayout:
    """Files and folders of COCO 2017 for people."""

    train: Path
    train_images: Path
    val: Path
    val_images: Path


def find(root: Path) -> CocoLayout:
    """Return the parts of COCO in a folder.

    Expected are ``annotations/person_keypoints_{train,val}2017.json``, and ``{train,val}2017/``
    there or under ``images/``.

    Raises:
        NotADirectoryError: If there is no such folder.
        FileNotFoundError: If parts are missing; the message names all of them, and the archives
            that hold them.
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


def check_images(annotations: CocoFile, folder: Path) -> None:
    """Raise FileNotFoundError, with their number and the first, if pictures of a file are not in their flat folder.

    The folder is listed once: quicker than asking for 118,287 files, on a network disk above all.
    """
    with os.scandir(folder) as entries:
        there = {entry.name for entry in entries}
    lacking = [
        image.file_name for image in annotations.images.values() if image.file_name not in there
    ]
    if lacking:
        raise FileNotFoundError(
            f"{folder} lacks {len(lacking)} of the {len(annotations.images)} pictures of {annotations.path.name}, "
            f"{lacking[0]} the first (an unfinished download? {_SITE}/zips/{folder.name}.zip holds them)"
        )
