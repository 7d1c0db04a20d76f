"""Images held out to measure AP on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slimpose.data.hold_out import hold_out
from slimpose.formats import coco


def file_of(names: list[str], *, labeled: int | None = None) -> coco.CocoFile:
    people: list[dict[str, Any]] = [
        {"id": i + 1, "image_id": i, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 40}
        for i in range(len(names) if labeled is None else labeled)
    ]
    images = [{"id": i, "file_name": name, "height": 9, "width": 9} for i, name in enumerate(names)]
    document = {"images": images, "annotations": people, "categories": [{"id": 1, "name": "x"}]}
    return coco.parse(document, Path("labels.json"), keypoints=False)


def test_fifth_of_the_images_is_held_out_always_the_same() -> None:
    file = file_of([f"{i}.jpg" for i in range(50)])
    train, held = hold_out(file, start=0.0, stop=0.2)
    assert (len(train.images), len(held.images)) == (40, 10)
    assert not train.images.keys() & held.images.keys()
    assert {person.image_id for person in held.people} == held.images.keys()
    assert hold_out(file, start=0.0, stop=0.2)[1].images == held.images


def test_folds_cover_every_image_once() -> None:
    file = file_of([f"{i}.jpg" for i in range(13)])
    held = [hold_out(file, start=i / 4, stop=(i + 1) / 4)[1].images for i in range(4)]
    assert sorted(number for images in held for number in images) == list(range(13))


def test_images_of_a_folder_stay_together() -> None:
    """The frames of a video are alike: AP on half of them says nothing."""
    file = file_of([f"video-{i % 6}/{i}.jpg" for i in range(60)])
    train, held = hold_out(file, start=0.0, stop=0.34)
    folders = [
        {image.file_name.split("/")[0] for image in part.images.values()} for part in (train, held)
    ]
    assert len(folders[1]) == 2
    assert not folders[0] & folders[1]


def test_too_few_images_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"0 are left to measure AP on, without any labels"):
        hold_out(file_of(["a.jpg", "b.jpg"]), start=0.0, stop=0.2)
