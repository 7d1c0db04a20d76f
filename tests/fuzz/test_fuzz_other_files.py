"""Malformed label files of other tools, poses, cameras and settings; see ``fuzz_harness``."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from coco_documents import coco_document
from foreign_models import write_heatmaps
from fuzz_harness import Case, Kind, check
from fuzz_mutations import ESCAPES, LONG, damaged_bytes, damaged_json, damaged_toml
from image_files import encoded
from run_cli import write_walk
from run_main import run_main
from slimpose.arrays import Size
from slimpose.skeleton import COCO17
from synthetic_models import CANVAS, dot_image, write_detector_model, write_pose_model

pytest.importorskip("onnx")
pytest.importorskip("sleap_io")

CELLS = ("", "nan", "-1", "1e9", "inf", "x", "0", "0.5", '"', "\x00", "A" * LONG, ESCAPES, "1,2")
CAMERAS = """
[cameras.door]
address = "walk.avi"
conf = 0.3
keypoint_threshold = 0.2
max_people = 5
every = 2
postures = true
[cameras.door.zones.mat]
points = [[0, 0], [1, 0], [1, 1], [0, 1]]
dwell_s = 2.0
[cameras.door.lines.edge]
points = [[0.5, 0], [0.5, 1]]
"""
SKELETON = """
name = "person"
keypoints = ["nose", "left_eye", "right_eye", "left_ear"]
limbs = [["nose", "left_eye"], ["nose", "right_eye"]]
sigmas = [0.1, 0.1, 0.1, 0.1]
flip_pairs = [["left_eye", "right_eye"]]
upper_body = ["nose"]
trunk = ["nose", "left_eye"]
colors = ["#ff0000", "#00ff00", "#0000ff", "#ffffff"]
"""
YOLO = """
path: .
train: images/train
val: images/train
names:
  0: person
kpt_shape: [17, 3]
flip_idx: [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
"""


def prepare(folder: Path) -> None:
    """Write models, images, and good label files of every tool."""
    write_pose_model(folder / "pose.onnx")
    write_detector_model(folder / "detector.onnx")
    write_heatmaps(folder / "foreign.onnx")
    write_walk(folder / "walk.avi", 12, size=Size(48, 64))
    (folder / "street.png").write_bytes(encoded(".png", dot_image(Size(48, 64), 30, 24)))
    (folder / "dot.png").write_bytes(encoded(".png", dot_image(CANVAS, 40, 40)))
    document = coco_document()
    document["annotations"][0]["image_id"] = 1
    document["images"][0] |= {"id": 1}
    (folder / "labels.json").write_text(json.dumps(document))
    for kind, name in (
        ("yolo", "yolo"),
        ("deeplabcut", "dlc"),
        ("sleap", "labels.slp"),
        ("sleap-analysis", "labels.h5"),
    ):
        assert (
            run_main("convert", folder / "labels.json", "--to", kind, "--out", folder / name) == 0
        )
    models = ["--model", folder / "pose.onnx", "--detector", folder / "detector.onnx"]
    outputs = [
        "--json",
        folder / "p.json",
        "--csv",
        folder / "p.csv",
        "--jsonl",
        folder / "p.jsonl",
    ]
    assert run_main("predict", folder / "walk.avi", *models, "--no-draw", *outputs) == 0


def label_case(rng: random.Random, shared: Path) -> Case:
    """A label file of YOLO, SLEAP or DeepLabCut, for ``convert``."""
    image = (shared / "street.png").read_bytes()
    way = rng.randrange(5)
    files: dict[str, bytes] = {}
    if way <= 1:
        line = next((shared / "yolo/labels/train").glob("*.txt")).read_bytes()
        files = {"images/train/street.png": image, "data.yaml": YOLO.encode()}
        files["labels/train/street.txt"] = line
        name = "data.yaml" if way == 0 else "labels/train/street.txt"
        files[name] = (
            _damaged_yaml(rng) if way == 0 else _damaged_table(rng, line.decode(), separator=" ")
        )
        subject = name if way == 0 else "street"
        source = "data.yaml"
    elif way == 2:
        project = {
            path.relative_to(shared / "dlc").as_posix(): path.read_bytes()
            for path in (shared / "dlc").rglob("*")
            if path.is_file()
        }
        table = next(name for name in project if name.endswith(".csv"))
        source = rng.choice((table, "config.yaml", table.replace(".csv", ".h5")))
        files = {**project}
        if source == table:
            files[source] = _damaged_table(rng, project[table].decode(), separator=",")
        elif source.endswith(".h5"):
            files[source] = damaged_bytes(rng, project[source])
        else:
            files[source] = _damaged_lines(rng, project[source].decode())
            del files[table.replace(".csv", ".h5")]
        subject = source
    else:
        good = shared / ("labels.slp" if way == 3 else "labels.h5")
        source = subject = f"bad{good.suffix}"
        files = {source: damaged_bytes(rng, good.read_bytes())}
    call = ["convert", source, "--out", "out.json"]
    return Case(files=files, arguments=call, subject=subject, outputs=("out.json",))


def _damaged_yaml(rng: random.Random) -> bytes:
    return _damaged_lines(rng, YOLO)


def _damaged_lines(rng: random.Random, text: str) -> bytes:
    values = (
        "",
        "null",
        "-1",
        "x",
        "[]",
        "{}",
        "1e9",
        "nan",
        "[1, x]",
        "&a [*a]",
        "!!python/x",
        "'",
    )
    lines = text.splitlines()
    if rng.random() < 0.2:
        return damaged_bytes(rng, text.encode())
    number = rng.randrange(len(lines))
    name, colon, _ = lines[number].partition(":")
    if colon and rng.random() < 0.8:
        lines[number] = f"{name}: {rng.choice(values)}"
    else:
        del lines[number]
    return "\n".join(lines).encode()


def _damaged_table(rng: random.Random, text: str, *, separator: str) -> bytes:
    if rng.random() < 0.2:
        return damaged_bytes(rng, text.encode())
    rows = [line.split(separator) for line in text.splitlines()]
    for _ in range(rng.choice((1, 1, 3))):
        row = rng.choice(rows)
        way = rng.randrange(5)
        if way == 0:
            rows.remove(row)
        elif way == 1:
            rows.insert(rng.randrange(len(rows) + 1), list(row))
        elif way == 2 and row:
            del row[rng.randrange(len(row))]
        elif row:
            row[rng.randrange(len(row))] = rng.choice(CELLS)
        if not rows:
            break
    return "\n".join(separator.join(row) for row in rows).encode()


def motion_case(rng: random.Random, shared: Path) -> Case:
    """Poses of any format, or a skeleton file, for ``motion``."""
    name = rng.choice(("p.json", "p.csv", "p.jsonl", "p.csv"))
    data = (shared / name).read_bytes()
    out = rng.choice(("m.csv", "m.trc", "m.mot"))
    call = ["motion", name, "--out", out, "--fps", "25"]
    if name != "p.json":
        call = call[:-2]
    if name == "p.json":
        bad = damaged_json(rng, json.loads(data))
    elif name == "p.jsonl":
        lines = data.splitlines()
        number = rng.randrange(len(lines))
        lines[number] = damaged_json(rng, json.loads(lines[number]))
        bad = b"\n".join(lines)
    else:
        bad = _damaged_table(rng, data.decode(), separator=",")
    return Case(files={name: bad}, arguments=call, subject=name, outputs=(out,))


def check_case(rng: random.Random, shared: Path) -> Case:
    """Annotations for ``check``, which reports every fault and corrects some."""
    bad = damaged_json(rng, json.loads((shared / "labels.json").read_text()))
    call = ["check", "bad.json", "--images", str(shared), "--out", "page", "--fix", "fixed.json"]
    if rng.random() < 0.3:
        call = ["check", str(shared / "labels.json"), "--val", "bad.json", "--out", "page"]
        call += ["--images", str(shared), "--val-images", str(shared)]
    return Case(
        files={"bad.json": bad}, arguments=call, subject="bad.json", outputs=("page", "fixed.json")
    )


def camera_case(rng: random.Random, shared: Path) -> Case:
    """A file of cameras with zones and lines, for ``predict``."""
    text = CAMERAS.replace("walk.avi", str(shared / "walk.avi"))
    call = ["predict", "--cameras", "bad.toml", "--model", str(shared / "pose.onnx")]
    call += ["--detector", str(shared / "detector.onnx"), "--threads", "1", "--no-draw"]
    call += ["--jsonl", "p.jsonl", "--events", "e.jsonl", "--frames", "4", "--seconds", "5"]
    bad = damaged_toml(rng, text)
    return Case(
        files={"bad.toml": bad},
        arguments=call,
        subject="" if b"address = 1" in bad else "bad.toml",  # a camera that is not there
        outputs=("p.jsonl", "e.jsonl"),
    )


def skeleton_case(rng: random.Random, shared: Path) -> Case:
    """A skeleton file for ``motion``, or the settings next to a model of another project."""
    if rng.random() < 0.5:
        names = ", ".join(f'"{name}"' for name in COCO17.joints)
        text = SKELETON.replace('"nose", "left_eye", "right_eye", "left_ear"', names, 1)
        text = text.replace("sigmas = [0.1, 0.1, 0.1, 0.1]", f"sigmas = {[0.1] * 17}")
        text = text.replace('"#ffffff"]', ", ".join(14 * ['"#ffffff"']) + "]")
        call = ["motion", str(shared / "p.json"), "--fps", "25", "--skeleton", "bad.toml"]
        files = {"bad.toml": damaged_toml(rng, text)}
        return Case(
            files=files, arguments=[*call, "--out", "m.csv"], subject="bad.toml", outputs=("m.csv",)
        )
    call = ["predict", str(shared / "dot.png"), "--model", "foreign.onnx", "--no-draw"]
    call += ["--detector", str(shared / "detector.onnx"), "--threads", "1", "--json", "p.json"]
    settings = (
        'kind = "heatmaps"\nmean = [0, 0, 0]\nstd = [1, 1, 1]\nbgr = false\nskeleton = "coco17"\n'
    )
    files = {"foreign.onnx": (shared / "foreign.onnx").read_bytes()}
    files["foreign.toml"] = damaged_toml(rng, settings)
    return Case(files=files, arguments=call, subject="foreign", outputs=("p.json",))


KINDS = (
    Kind(name="labels of other tools", count=200, make=label_case, prepare=prepare),
    Kind(name="poses for motion", count=120, make=motion_case, prepare=prepare),
    Kind(name="annotations for check", count=120, make=check_case, prepare=prepare),
    Kind(name="TOML: cameras", count=120, make=camera_case, prepare=prepare),
    Kind(name="TOML: skeletons, settings", count=120, make=skeleton_case, prepare=prepare),
)
Record = Callable[[str, object], None]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_tenth_malformed_file_is_rejected_in_one_line(
    kind: Kind, tmp_path: Path, record_property: Record
) -> None:
    check(kind, tmp_path, record_property, every=10)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_malformed_file_is_rejected_in_one_line(
    kind: Kind, tmp_path: Path, record_property: Record
) -> None:
    check(kind, tmp_path, record_property)
