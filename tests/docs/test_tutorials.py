"""Runs the code blocks of the README and of the tutorials.

Blocks marked with ``<!-- run -->`` run as they are; ``<!-- run: torch -->`` marks one that needs
the training extra. The blocks of a page run in order in one folder, which has the sample photos, a
short video and a COCO file of the people in the photos.

All other commands of the README and the tutorials run in the slow tests, with stand-ins for what
they need (``STAND_INS``, ``prepare``) and options that end them early (``LIMITS``).
"""

from __future__ import annotations

import json
import os
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
MOTION = ROOT / "docs/motion.md"
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


@pytest.mark.parametrize("page", [*TUTORIALS, MOTION], ids=lambda page: page.stem)
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


STAND_INS = {"0": "clip.mp4", "rtsp://camera/stream": "clip.mp4", "http://other/video": "clip.mp4"}
"""Files in place of cameras."""
LIMITS = {
    "live": ["--frames", "4"],
    "benchmark": ["--quick"],
    "compare": ["--rounds", "1"],
    "train": ["--stop-after-minutes", "0.02"],
    "plan": ["--seconds", "1"],
}
CODES = {"plan": (0, 1), "lint": (0, 1)}
"""Exit code 1 is their answer: no, this machine or target cannot."""
CONVERTERS = {".tflite": "litert_torch", ".ncnn.param": "pnnx", ".xml": "openvino"}
HAS_NO_STAND_IN = (".engine", "train_own_data.py out/ train.json", "slimpose serve")
"""TensorRT engines are made on a GPU; the example trains for hours (its --demo runs above);
servers run until Ctrl-C (tests/cli/test_serve.py)."""
README = ROOT / "README.md"
ANY_BLOCK = re.compile(r"^(<!-- run.*? -->\n)?```(\w*)\n(.*?)^```$", re.M | re.S)


def prepare(folder: Path) -> None:
    """Add what the documented commands name: data under several names, foreign models, weights."""
    from foreign_models import write_heatmaps, write_movenet

    for name in ("person_keypoints.json", "train.json", "val.json"):
        shutil.copy(folder / "people.json", folder / name)
    for name in ("images", "train", "val"):
        (folder / name).symlink_to(folder / "photos")
    for name in ("movenet-lightning.onnx", "movenet-thunder.onnx"):
        write_movenet(folder / name)
    write_heatmaps(folder / "tinypose-256x192.onnx")
    (folder / "models").symlink_to(ROOT / "models")


def documented_commands(page: Path) -> list[list[str]]:
    """Return the commands of a page's blocks that are not marked, without those of pip and make."""
    found = ANY_BLOCK.findall(page.read_text(encoding="utf-8"))
    text = "".join(
        text for mark, language, text in found if not mark and language in ("", "console")
    )
    lines = text.replace("\\\n", " ").splitlines()
    commands = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [words for words in commands if words and words[0] in ("slimpose", "python")]


@pytest.mark.slow
@pytest.mark.parametrize("page", [README, *TUTORIALS], ids=lambda page: page.stem)
def test_documented_commands_run(page: Path, folder: Path) -> None:
    pytest.importorskip("torch")
    prepare(folder)
    run_page(page, folder, torch=False)
    if page.stem == "train":
        run_page(page, folder, torch=True)
    failed = []
    for program, *words in documented_commands(page):
        line = " ".join([program, *words])
        missing = [find_spec(name) is None for end, name in CONVERTERS.items() if end in line]
        if any(missing) or any(part in line for part in HAS_NO_STAND_IN):
            continue
        executable = {"slimpose": SLIMPOSE, "python": [sys.executable]}[program]
        if "--show" in words and not os.environ.get("DISPLAY") and shutil.which("xvfb-run"):
            executable = ["xvfb-run", "--auto-servernum", *executable]
        arguments = [*(STAND_INS.get(word, word) for word in words), *LIMITS.get(words[0], [])]
        done = subprocess.run(
            [*executable, *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode not in CODES.get(words[0], (0,)):
            failed.append(f"{line}: {done.returncode}: {done.stderr[-500:]}")
    assert not failed, "\n".join(failed)


def test_python_block_of_the_readme_runs(folder: Path) -> None:
    found = ANY_BLOCK.findall(README.read_text(encoding="utf-8"))
    (block,) = [text for _, language, text in found if language == "python"]
    namespace: dict[str, Any] = {}
    exec(compile(block, str(README), "exec"), namespace)
    assert len(namespace["poses"]) > 0
    assert namespace["drawn"].shape == namespace["image"].shape
    assert folder.is_dir()


def test_every_command_of_the_readme_is_found() -> None:
    found = [words[1] for words in documented_commands(README)]
    assert found == ["predict", "predict", "predict", "live", "serve", "compare"]


def test_every_tutorial_has_runnable_blocks() -> None:
    assert TUTORIALS
    assert all(blocks(page) for page in TUTORIALS)
