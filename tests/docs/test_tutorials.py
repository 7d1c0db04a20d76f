"""Runs the code blocks of the tutorials that are marked with ``<!-- run -->``.

``<!-- run: torch -->`` marks a block that needs the training extra. The blocks of a page run in
order in one folder, which has the sample photos, a short video and a COCO file of the people in the
photos.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import pytest

import slimpose
from slimpose.formats import results

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs/tutorials").glob("*.md"))
BLOCK = re.compile(r"^<!-- run(: torch)? -->\n```(console|python)\n(.*?)^```$", re.M | re.S)
SLIMPOSE = [sys.executable, "-c", "from slimpose.cli.main import main; main()"]


class Block(NamedTuple):
    needs_torch: bool
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [Block(bool(torch), language, text) for torch, language, text in found]


@pytest.fixture(scope="module")
def coco_document() -> dict[str, Any]:
    """A COCO file of the sample photos, labeled by the shipped models."""
    estimate = slimpose.load()
    images, people = [], []
    for number, path in enumerate(sorted((ROOT / "examples/photos").glob("*.jpg"))):
        image = cv2.imread(str(path))
        assert image is not None
        height, width = image.shape[:2]
        images.append({"id": number, "file_name": path.name, "height": height, "width": width})
        for record in results.records(estimate(path), file_name=path.name, frame=0):
            keypoints = [2 if i % 3 == 2 else value for i, value in enumerate(record["keypoints"])]
            area = record["bbox"][2] * record["bbox"][3]
            people.append(
                {"id": len(people), "image_id": number, "category_id": 1, "iscrowd": 0}
                | {"bbox": record["bbox"], "area": area, "keypoints": keypoints}
                | {"num_keypoints": 17}
            )
    category = {"id": 1, "name": "person", "keypoints": slimpose.COCO17.joints, "skeleton": []}
    return {"images": images, "annotations": people, "categories": [category]}


@pytest.fixture
def folder(tmp_path: Path, coco_document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    photos = tmp_path / "photos"
    shutil.copytree(ROOT / "examples/photos", photos, ignore=shutil.ignore_patterns("*.md"))
    shutil.copy(sorted(photos.iterdir())[0], tmp_path / "street.jpg")
    image = cv2.imread(str(tmp_path / "street.jpg"))
    assert image is not None
    image = cv2.resize(image, (320, 240))
    writer = cv2.VideoWriter(
        str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25, (320, 240)
    )
    for _ in range(6):
        writer.write(image)
    writer.release()
    (tmp_path / "people.json").write_text(json.dumps(coco_document))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_console(text: str, folder: Path) -> None:
    lines = text.replace("\\\n", " ").splitlines()
    commands = [shlex.split(line[2:], comments=True) for line in lines if line.startswith("$ ")]
    assert commands
    for program, *arguments in commands:
        executable = {"slimpose": SLIMPOSE, "python": [sys.executable]}[program]
        done = subprocess.run(
            [*executable, *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{program} {arguments}: {done.stderr}"


def run_page(page: Path, folder: Path, *, torch: bool) -> None:
    namespace: dict[str, object] = {}
    for block in blocks(page):
        if block.needs_torch != torch:
            continue
        if block.language == "console":
            run_console(block.text, folder)
        else:
            exec(compile(block.text, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_tutorial_runs(page: Path, folder: Path) -> None:
    run_page(page, folder, torch=False)


@pytest.mark.skipif(not find_spec("torch"), reason="needs the training extra")
@pytest.mark.parametrize(
    "page",
    [page for page in TUTORIALS if any(block.needs_torch for block in blocks(page))],
    ids=lambda page: page.stem,
)
def test_tutorial_with_torch_runs(page: Path, folder: Path) -> None:
    run_page(page, folder, torch=True)


def test_every_tutorial_has_runnable_blocks() -> None:
    assert TUTORIALS
    assert all(blocks(page) for page in TUTORIALS)
