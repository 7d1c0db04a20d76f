"""Damaged annotation files, box files, recipes and metadata are read or refused in plain words."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coco_documents import coco_document
from mutations import PYTHON_WORDS, mutated
from slimpose.formats import boxes, coco
from slimpose.network.build import spec_from_json
from slimpose.skeleton import COCO17, Skeleton
from slimpose.train.recipe import Recipe
from slimpose.train.recipes import RECIPES

pytestmark = pytest.mark.filterwarnings("ignore::slimpose.messages.DataWarning")

COUNT = 150


def full_document() -> dict[str, Any]:
    document = coco_document()
    document["categories"][0] |= {"sigmas": [0.05] * 17, "flip_pairs": [[2, 3]]}
    document["categories"].append({"id": 2, "name": "dog", "supercategory": "animal"})
    document["annotations"][0] |= {
        "weights": [1.0] * 17,
        "source": "a",
        "teacher_keypoints": [1.0] * 51,
        "teacher_agreement": 0.5,
    }
    return document


RECIPE = json.loads(RECIPES["mnv2"]().to_json())
RECORDS = [
    {"bbox": [1, 2, 3, 4], "file_name": "a.png", "score": 0.5, "frame": 0, "category_id": 1},
    {"bbox": [1, 2, 3, 4], "image_id": 3},
]


def of_text(read: Callable[[str], object]) -> Callable[[Any, Path], object]:
    return lambda document, _: read(json.dumps(document))


def of_file(read: Callable[[Path], object]) -> Callable[[Any, Path], object]:
    def write_and_read(document: Any, folder: Path) -> object:
        path = folder / "input.json"
        path.write_text(json.dumps(document))
        return read(path)

    return write_and_read


@pytest.mark.parametrize(
    ("document", "read"),
    [
        (full_document(), of_file(lambda path: coco.read(path, keypoints=True))),
        (full_document(), of_file(lambda path: coco.read(path, keypoints=False))),
        (RECORDS, of_file(boxes.read)),
        (RECIPE, of_text(Recipe.from_json)),
        (json.loads(COCO17.to_json()), of_text(Skeleton.from_json)),
        (RECIPE["net"], of_text(spec_from_json)),
    ],
    ids=["keypoints", "instances", "boxes", "recipe", "skeleton", "net"],
)
def test_damaged_document_is_read_or_refused_in_plain_words(
    document: Any, read: Callable[[Any, Path], object], tmp_path: Path
) -> None:
    """Any other exception than ValueError fails the test."""
    rng = random.Random(0)
    refused = 0
    for _ in range(COUNT):
        damaged = mutated(document, rng)
        try:
            read(damaged, tmp_path)
        except ValueError as error:
            message, refused = str(error), refused + 1
            assert "expected" in message
            assert not PYTHON_WORDS.search(message), message
            assert "\x1b" not in message
            assert len(message) < 1500
    assert COUNT / 4 < refused < COUNT
