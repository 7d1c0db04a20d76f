"""``slimpose evaluate``: figures that can be worked out by hand, and rejected input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from run_main import run_main
from slimpose.arrays import Size
from slimpose.evaluate.coco_ap import average_precision
from slimpose.formats import coco
from slimpose.runtime.models import shipped
from slimpose.skeleton import COCO17
from synthetic_models import dot_image, write_detector_model, write_pose_model

BOX = [40.0, 30.0, 48.0, 64.0]
"""With padding 1.25 the 48x64 crop shows it at scale 0.8."""
DOT = (64, 62)
PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
SHARED = Path(__file__).parents[3] / "shared" / "data" / "demo"


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Annotations of two images in the working folder, one without people.

    The keypoints are where the synthetic pose model predicts them.
    """
    monkeypatch.chdir(tmp_path)
    cv2.imwrite(str(tmp_path / "a.png"), dot_image(Size(160, 160), *DOT))
    cv2.imwrite(str(tmp_path / "b.png"), np.full((160, 160, 3), 20, np.uint8))
    keypoints = [value for joint in range(17) for value in (DOT[0] + joint / 4 / 0.8, DOT[1], 2)]
    person = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": BOX, "area": 3072.0}
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.joints), "skeleton": []}
    document = {
        "images": [
            {"id": i, "file_name": f"{name}.png", "height": 160, "width": 160}
            for i, name in enumerate("ab", 1)
        ],
        "categories": [category],
        "annotations": [{**person, "num_keypoints": 17, "keypoints": keypoints}],
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(document))
    return path


def run(model: Path | str, annotations: Path, *options: object) -> int:
    """Evaluate on the images next to the annotations."""
    images = annotations.parent
    return run_main("evaluate", model, "--annotations", annotations, "--images", images, *options)


def figures_of(model: Path | str, annotations: Path, *options: object) -> dict[str, Any]:
    out = annotations.with_name("figures.json")
    assert run(model, annotations, *options, "--json", out) == 0
    return json.loads(out.read_text())


def write_boxes(*boxes: dict[str, Any], name: str = "boxes.json") -> Path:
    records = [{"category_id": 1, "bbox": BOX, "score": 0.5} | box for box in boxes]
    Path(name).write_text(json.dumps(records))
    return Path(name)


def test_perfect_model_has_ap_1_and_the_protocol_is_written(scene: Path, pose: Path) -> None:
    figures = figures_of(pose, scene, "--boxes", "gt")
    assert figures["AP"] == pytest.approx(1.0)
    assert {name: figures[name] for name in ("boxes", "flip", "images", "people", "model")} == {
        "boxes": "gt",
        "flip": False,
        "images": 2,
        "people": 1,
        "model": "synthetic-pose",
    }
    assert figures["ms_per_person"] > 0


def test_boxes_of_a_file_define_the_crops(scene: Path, pose: Path) -> None:
    boxes = write_boxes({"image_id": 1, "bbox": [100, 100, 48, 64]})
    figures = figures_of(pose, scene, "--boxes", boxes)
    assert figures["AP"] == pytest.approx(0.0)  # the dot is not in that crop
    assert figures["boxes"] == "boxes.json"


def test_detector_gets_box_ap_recall_and_false_positives(scene: Path, detector: Path) -> None:
    figures = figures_of(detector, scene)
    # 32x48 px on the 0.6 canvas: 53x80 about the dot, IoU 0.72
    assert figures["AP50"] == pytest.approx(1.0)
    assert figures["recall_tall"] == 0  # no person is taller than 96 px
    assert figures["false_per_image"] == 0
    assert figures["score_threshold"] == pytest.approx(0.3)
    figures = figures_of(detector, scene, "--box-threshold", 0.0)
    assert figures["score_threshold"] == 0
    assert figures["false_per_image"] == 0.5  # the low-scoring box, in one of two images


def test_pose_model_uses_the_boxes_of_the_detector(scene: Path, pose: Path, detector: Path) -> None:
    figures = figures_of(pose, scene, "--boxes", "detector", "--detector", detector)
    assert figures["boxes"] == "detector"
    assert figures["AP50"] > 0.9


@pytest.mark.parametrize(("threshold", "people"), [(0.05, 2), (0.0, 3), (0.5, 1), (0.95, 0)])
def test_boxes_below_the_threshold_are_ignored(
    scene: Path, pose: Path, threshold: float, people: int
) -> None:
    boxes = write_boxes(
        {"image_id": 1, "score": 0.9},
        {"image_id": 1, "bbox": [90, 90, 48, 64], "score": 0.3},
        {"image_id": 2, "score": 0.04},
        {"image_id": 2, "category_id": 18, "score": 0.99},  # a dog
    )
    figures = figures_of(pose, scene, "--boxes", boxes, "--box-threshold", threshold)
    assert figures["people"] == people
    assert figures["AP"] == pytest.approx(1.0 if people else 0.0)


# results for the test server


def image_list(scene: Path) -> Path:
    """The scene's images without annotations, in the form of COCO's test-dev list."""
    document = json.loads(scene.read_text())
    for category in document["categories"]:
        del category["keypoints"], category["skeleton"]
    path = scene.with_name("image_info_test-dev2017.json")
    path.write_text(json.dumps({name: document[name] for name in ("images", "categories")}))
    return path


def test_results_are_written_for_images_without_annotations(
    scene: Path, pose: Path, capsys: Any
) -> None:
    boxes = write_boxes({"image_id": 1, "score": 0.5})
    figures = figures_of(pose, image_list(scene), "--boxes", boxes, "--results", "results.json")
    (record,) = json.loads(Path("results.json").read_text())
    assert record.keys() == {"image_id", "category_id", "keypoints", "score"}
    assert (record["image_id"], record["category_id"], len(record["keypoints"])) == (1, 1, 51)
    np.testing.assert_allclose(record["keypoints"][:2], DOT, atol=1)
    # box score times the mean joint score, here 1
    assert record["score"] == pytest.approx(0.5, abs=0.01)
    assert "AP" not in figures
    assert "AP" not in capsys.readouterr().out


def test_written_results_have_the_printed_ap(scene: Path, pose: Path) -> None:
    figures = figures_of(pose, scene, "--results", "results.json")
    results = json.loads(Path("results.json").read_text())
    again = average_precision(coco.read(scene, keypoints=True), results, kind="keypoints")
    assert again == {name: figures[name] for name in again}


@pytest.mark.parametrize("options", [(), ("--results", "results.json"), ("--boxes", "boxes.json")])
def test_image_list_needs_boxes_and_results(
    scene: Path, pose: Path, options: tuple[str, ...], capsys: Any
) -> None:
    write_boxes({"image_id": 1})
    assert run(pose, image_list(scene), *options) == 2
    assert "has no annotations to compare with; expected --boxes FILE" in capsys.readouterr().err
    assert not Path("results.json").exists()


# error analysis


def test_analysis_is_written_and_printed(
    scene: Path, pose: Path, tmp_path: Path, capsys: Any
) -> None:
    document = json.loads(scene.read_text())
    document["annotations"][0]["keypoints"][0] += 30  # the nose is off
    scene.write_text(json.dumps(document))
    out = tmp_path / "new" / "page"
    assert run(pose, scene, "--analyze", out) == 0
    printed = capsys.readouterr().out
    assert "fixed" in printed
    assert str(out / "index.html") in printed.replace("\n", "")
    figures = json.loads((out / "analysis.json").read_text())
    no_errors = dict.fromkeys(("jitter", "inversion", "swap", "not found"), 0)
    assert figures["kinds"] == {"good": 16, "miss": 1, **no_errors}
    assert figures["model"] == "synthetic-pose"
    assert "synthetic-pose" in (out / "index.html").read_text()
    assert sorted(path.name for path in out.iterdir()) == ["analysis.json", "index.html"]


@pytest.mark.parametrize(
    ("folder", "model", "code", "message"),
    [
        ("truth.json", "pose", 2, "truth.json is a file; expected a folder"),
        ("truth.json/page", "pose", 1, "cannot write to"),
        ("page", "detector", 2, "--analyze: only for pose models; synthetic-detect is a person"),
    ],
)
def test_invalid_analysis_is_rejected_before_the_evaluation(
    scene: Path, tmp_path: Path, folder: str, model: str, code: int, message: str, capsys: Any
) -> None:
    write = {"pose": write_pose_model, "detector": write_detector_model}[model]
    (tmp_path / "a.png").unlink()  # the evaluation would fail on the missing image
    assert run(write(tmp_path / "model.onnx"), scene, "--analyze", tmp_path / folder) == code
    assert message in " ".join(capsys.readouterr().err.split())


# rejected input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--flip-shift", "--flip-shift is a part of --flip; expected both"),
        ("--decoding quarter", "outputs no heatmaps, which quarter decoding reads"),
        ("--box-threshold 1.5", "--box-threshold is 1.5; expected a number 0..1"),
        ("--flip", "outputs no heatmaps, which the flip test averages"),
        ("--boxes nowhere.json", "no box file nowhere.json"),
        ("--boxes other.json", "has no box for an image of truth.json (of another data set?)"),
        ("--boxes detector --detector pose.onnx", "is a pose model; expected a person detector"),
        ("--box-threshold 0.05", "--boxes is gt, expected FILE or detector"),
        ("--detector pose.onnx", "--detector is for --boxes detector; --boxes is gt"),
        (
            "--detector pose.onnx --boxes other.json",
            "--boxes is other.json, expected detector",
        ),
        (
            "--boxes boxes.onnx",
            "--boxes is boxes.onnx, a model; expected --boxes detector --detector boxes.onnx",
        ),
        ("--results out.json", "--json and --results: two of them are one file"),
        ("--threads -1", "threads is -1; expected 1..1024"),
    ],
)
def test_invalid_options_are_rejected(
    scene: Path, pose: Path, options: str, message: str, capsys: Any
) -> None:
    write_boxes({"image_id": 5, "bbox": [0, 0, 9, 9]}, name="other.json")
    assert run(pose, Path(scene.name), "--json", "out.json", *options.split()) == 2
    assert message in capsys.readouterr().err
    assert not Path("out.json").exists()


@pytest.mark.usefixtures("pose", "detector")
@pytest.mark.parametrize(
    "boxes", ["", "--boxes detector --detector detector.onnx", "--boxes boxes.json"]
)
def test_missing_image_is_reported_before_any_is_read(
    scene: Path, boxes: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_boxes({"image_id": 2})
    document = json.loads(scene.read_text())
    document["annotations"].append(document["annotations"][0] | {"id": 2, "image_id": 2})
    scene.write_text(json.dumps(document))
    Path("b.png").unlink()
    command = f"evaluate pose.onnx --annotations {scene.name} {boxes} --results out.json --images"
    read: list[Path] = []
    monkeypatch.setattr("slimpose.media.annotated_image.read_image", read.append)
    assert run_main(*command.split(), ".") == 2
    assert "truth.json names b.png, which is not in . (another folder?)" in capsys.readouterr().err
    assert run_main(*command.split(), "nowhere") == 2
    assert "no image folder nowhere" in capsys.readouterr().err
    assert not read


def test_file_without_labeled_people_is_rejected(scene: Path, pose: Path, capsys: Any) -> None:
    scene.write_text(json.dumps(json.loads(scene.read_text()) | {"annotations": []}))
    assert run(pose, scene) == 2
    message = "truth.json: no person has a labeled joint; expected people to evaluate"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--boxes detector", "--boxes"),
        ("--detector other.onnx", "--detector"),
        ("--flip --flip-shift", "--flip, --flip-shift"),
        ("--decoding quarter --box-threshold 0.5", "--decoding"),
        ("--analyze page", "--analyze"),
    ],
)
def test_detector_takes_no_options_of_pose_models(
    scene: Path, detector: Path, options: str, named: str, capsys: Any
) -> None:
    assert run(detector, Path(scene.name), "--json", "out.json", *options.split()) == 2
    message = f"{named}: only for pose models; synthetic-detect is a person detector"
    assert message in capsys.readouterr().err
    assert not Path("out.json").exists()


@pytest.mark.usefixtures("pose", "detector")
@pytest.mark.parametrize("option", ["--json", "--results"])
@pytest.mark.parametrize("name", ["truth.json", "boxes.json", "pose.onnx", "detector.onnx"])
def test_input_files_are_not_overwritten(scene: Path, option: str, name: str, capsys: Any) -> None:
    write_boxes({"image_id": 1})
    boxes = "detector --detector detector.onnx" if name == "detector.onnx" else "boxes.json"
    before = Path(name).read_bytes()
    options = [*f"--boxes {boxes}".split(), option, Path(name).absolute()]
    assert run("pose.onnx", Path(scene.name), *options) == 2
    assert "is an input of this call; it would be overwritten" in capsys.readouterr().err
    assert Path(name).read_bytes() == before


@pytest.mark.shared
def test_shipped_models_find_the_people_of_the_sample_photos(tmp_path: Path) -> None:
    truth = SHARED / "person_keypoints.json"
    if not truth.exists() or "mnv2" not in shipped():
        pytest.skip("needs the labeled sample photos and the shipped weights")
    out = tmp_path / "figures.json"
    command = ("evaluate", "mnv2", "--annotations", truth, "--images", PHOTOS, "--json", out)
    for boxes, min_ap in (("gt", 0.45), ("detector", 0.2)):
        assert run_main(*command, "--boxes", boxes) == 0
        assert json.loads(out.read_text())["AP"] > min_ap


# unusual annotations


def change(annotations: Path, **fields: object) -> None:
    document = json.loads(annotations.read_text())
    document["annotations"][0] |= fields
    annotations.write_text(json.dumps(document))


@pytest.mark.parametrize("area", [None, 0])
def test_missing_area_is_reported_once_and_written_with_the_figures(
    scene: Path, pose: Path, capsys: pytest.CaptureFixture[str], area: object
) -> None:
    change(scene, area=area)
    figures = figures_of(pose, scene)
    assert figures["people_without_area"] == 1
    error = capsys.readouterr().err
    assert error.count("slimpose: warning: ") == error.count("\n") == 1
    assert "1 of 1 people have no area" in error


@pytest.mark.parametrize("area", [1, -1, float("nan"), "3072", 1e9])
def test_impossible_area_is_rejected(
    scene: Path, pose: Path, capsys: pytest.CaptureFixture[str], area: object
) -> None:
    change(scene, area=area)
    assert run(pose, scene) == 2
    error = capsys.readouterr().err
    assert "annotation 1: area" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("kind", ["pose", "detector"])
def test_resized_images_are_rejected(
    scene: Path, kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """AP was 0, as if the model were bad."""
    cv2.imwrite(str(scene.with_name("a.png")), dot_image(Size(80, 80), 32, 31))
    assert run(request.getfixturevalue(kind), scene) == 2
    assert "a.png, is declared 160 wide and 160 high; the file is 80" in capsys.readouterr().err


def test_control_characters_of_names_do_not_reach_the_terminal(
    scene: Path, pose: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(scene.read_text())
    document["images"][0]["file_name"] = "\x1b]0;title\x07\nred.png"
    scene.write_text(json.dumps(document))
    assert run(pose, scene) == 2
    error = capsys.readouterr().err
    assert error.rstrip("\n").isprintable()
    assert r"\x1b]0;title\x07\nred.png" in error


def test_long_values_are_shortened(
    scene: Path, pose: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(scene, bbox=200_000 * "9")
    assert run(pose, scene) == 2
    error = capsys.readouterr().err
    assert "(200000 characters); expected 4 finite numbers: x, y, width, height" in error
    assert len(error) < 500


def test_boxes_that_may_be_of_two_images_are_rejected(
    scene: Path, pose: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(scene.read_text())
    for entry, folder in zip(document["images"], "xy", strict=True):
        entry["file_name"] = f"{folder}/1.png"
    scene.write_text(json.dumps(document))
    boxes = write_boxes({"file_name": "1.png"})
    assert run(pose, scene, "--boxes", boxes) == 2
    assert "1.png, which may be x/1.png or y/1.png; expected" in capsys.readouterr().err
