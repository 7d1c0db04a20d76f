"""``slimpose evaluate``: figures that can be worked out by hand, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from models import dot_image, write_detector_model, write_pose_model
from slimpose.arrays import Size
from slimpose.cli.main import main
from slimpose.skeleton import COCO17

pytest.importorskip("pycocotools")

BOX = [40.0, 30.0, 48.0, 64.0]
"""With padding 1.25 the 48x64 crop shows it at scale 0.8."""
DOT = (64, 62)
PHOTOS = Path(__file__).parent.parent / "examples" / "photos"
SHARED = Path(__file__).parent.parent.parent / "shared" / "data" / "demo"


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A picture with one person whose joints are where the synthetic pose model puts them, and one without."""
    cv2.imwrite(str(tmp_path / "a.png"), dot_image(Size(160, 160), *DOT))
    cv2.imwrite(str(tmp_path / "b.png"), np.full((160, 160, 3), 20, np.uint8))
    keypoints = [value for joint in range(17) for value in (DOT[0] + joint / 4 / 0.8, DOT[1], 2)]
    person = {"image_id": 1, "category_id": 1, "iscrowd": 0}
    document = {
        "images": [
            {"id": i, "file_name": f"{name}.png", "height": 160, "width": 160} for i, name in enumerate("ab", 1)
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.joints), "skeleton": []}],
        "annotations": [
            {**person, "id": 1, "bbox": BOX, "area": 3072.0, "num_keypoints": 17, "keypoints": keypoints},
        ],
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(document))
    return path


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return int(stopped.value.code or 0)


def test_a_perfect_model_has_ap_1_and_the_file_tells_how_it_was_measured(scene: Path, tmp_path: Path) -> None:
    model, out = write_pose_model(tmp_path / "pose.onnx"), tmp_path / "figures.json"
    assert run("evaluate", model, "--annotations", scene, "--images", tmp_path, "--boxes", "gt", "--json", out) == 0
    figures = json.loads(out.read_text())
    assert figures["AP"] == pytest.approx(1.0)
    assert {name: figures[name] for name in ("boxes", "flip", "images", "people", "model")} == {
        "boxes": "gt",
        "flip": False,
        "images": 2,
        "people": 1,
        "model": "synthetic-pose",
    }
    assert figures["ms_per_person"] > 0


def test_a_box_file_moves_the_crop(scene: Path, tmp_path: Path) -> None:
    model, out = write_pose_model(tmp_path / "pose.onnx"), tmp_path / "figures.json"
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps([{"image_id": 1, "category_id": 1, "bbox": [100, 100, 48, 64], "score": 0.9}]))
    words = ("evaluate", model, "--annotations", scene, "--images", tmp_path, "--json", out)
    assert run(*words, "--boxes", boxes) == 0
    figures = json.loads(out.read_text())
    assert figures["AP"] == pytest.approx(0.0)  # the dot is not in that crop
    assert figures["boxes"] == "boxes.json"


def test_a_detector_gives_box_ap_recall_and_false_boxes(scene: Path, tmp_path: Path) -> None:
    model, out = write_detector_model(tmp_path / "detector.onnx"), tmp_path / "figures.json"
    assert run("evaluate", model, "--annotations", scene, "--images", tmp_path, "--json", out) == 0
    figures = json.loads(out.read_text())
    assert figures["AP50"] == pytest.approx(1.0)  # 32x48 px on the 0.6 canvas: 53x80 about the dot, IoU 0.72
    assert figures["recall_tall"] == 0  # nobody is taller than 96 px
    assert figures["false_per_image"] == 0
    assert figures["score_threshold"] == pytest.approx(0.3)


def test_boxes_of_the_detector_reach_the_pose_model(scene: Path, tmp_path: Path) -> None:
    pose, detector = write_pose_model(tmp_path / "pose.onnx"), write_detector_model(tmp_path / "detector.onnx")
    out = tmp_path / "figures.json"
    words = ("evaluate", pose, "--annotations", scene, "--images", tmp_path, "--json", out)
    assert run(*words, "--boxes", "detector", "--detector", detector) == 0
    figures = json.loads(out.read_text())
    assert figures["boxes"] == "detector"
    assert figures["AP50"] > 0.9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--flip",), "gives no heatmaps, which --flip averages"),
        (("--boxes", "nowhere.json"), "no box file nowhere.json"),
        (("--boxes", "other.json"), "holds no box of an image of truth.json (of another data set?)"),
        (("--boxes", "detector", "--detector", "pose.onnx"), "is a pose model; expected a person detector"),
    ],
)
def test_what_cannot_be_measured_is_told(
    scene: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    model = write_pose_model(tmp_path / "pose.onnx")
    (tmp_path / "other.json").write_text(json.dumps([{"image_id": 5, "bbox": [0, 0, 9, 9], "score": 1}]))
    assert run("evaluate", model, "--annotations", scene.name, "--images", tmp_path, "--json", "out.json", *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


@pytest.mark.shared
def test_the_shipped_models_find_the_people_of_the_sample_photos(tmp_path: Path) -> None:
    from slimpose.runtime.models import shipped

    truth = SHARED / "person_keypoints.json"
    if not truth.exists() or "mnv2" not in shipped():
        pytest.skip("needs the labelled sample photos and the shipped weights")
    out = tmp_path / "figures.json"
    assert run("evaluate", "mnv2", "--annotations", truth, "--images", PHOTOS, "--json", out) == 0
    assert json.loads(out.read_text())["AP"] > 0.45
    words = ("evaluate", "mnv2", "--annotations", truth, "--images", PHOTOS, "--json", out, "--boxes", "detector")
    assert run(*words) == 0
    assert json.loads(out.read_text())["AP"] > 0.2
