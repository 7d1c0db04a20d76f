"""``slimpose evaluate``: figures that can be worked out by hand, and what is refused."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coco_documents import coco_document
from slimpose import heatmap
from slimpose.arrays import Crops, Heatmaps, Size
from slimpose.cli.main import main
from slimpose.evaluate.coco_ap import average_precision
from slimpose.evaluate.detector import detected_boxes
from slimpose.evaluate.pose import predict_from_heatmaps, quarter_decode
from slimpose.formats import coco
from slimpose.skeleton import COCO17, Skeleton
from synthetic_models import dot_image, write_detector_model, write_pose_model

BOX = [40.0, 30.0, 48.0, 64.0]
"""With padding 1.25 the 48x64 crop shows it at scale 0.8."""
DOT = (64, 62)
PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
SHARED = Path(__file__).parents[3] / "shared" / "data" / "demo"


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A picture with one person whose joints are where the synthetic pose model puts them, and one without."""
    cv2.imwrite(str(tmp_path / "a.png"), dot_image(Size(160, 160), *DOT))
    cv2.imwrite(str(tmp_path / "b.png"), np.full((160, 160, 3), 20, np.uint8))
    keypoints = [value for joint in range(17) for value in (DOT[0] + joint / 4 / 0.8, DOT[1], 2)]
    person = {"image_id": 1, "category_id": 1, "iscrowd": 0}
    document = {
        "images": [
            {"id": i, "file_name": f"{name}.png", "height": 160, "width": 160}
            for i, name in enumerate("ab", 1)
        ],
        "categories": [
            {"id": 1, "name": "person", "keypoints": list(COCO17.joints), "skeleton": []}
        ],
        "annotations": [
            {
                **person,
                "id": 1,
                "bbox": BOX,
                "area": 3072.0,
                "num_keypoints": 17,
                "keypoints": keypoints,
            },
        ],
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(document))
    return path


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return int(stopped.value.code or 0)


def test_a_perfect_model_has_ap_1_and_the_file_tells_how_it_was_measured(
    scene: Path, tmp_path: Path
) -> None:
    model, out = write_pose_model(tmp_path / "pose.onnx"), tmp_path / "figures.json"
    assert (
        run(
            "evaluate",
            model,
            "--annotations",
            scene,
            "--images",
            tmp_path,
            "--boxes",
            "gt",
            "--json",
            out,
        )
        == 0
    )
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
    boxes.write_text(
        json.dumps([{"image_id": 1, "category_id": 1, "bbox": [100, 100, 48, 64], "score": 0.9}])
    )
    words = ("evaluate", model, "--annotations", scene, "--images", tmp_path, "--json", out)
    assert run(*words, "--boxes", boxes) == 0
    figures = json.loads(out.read_text())
    assert figures["AP"] == pytest.approx(0.0)  # the dot is not in that crop
    assert figures["boxes"] == "boxes.json"


def test_a_detector_gives_box_ap_recall_and_false_boxes(scene: Path, tmp_path: Path) -> None:
    model, out = write_detector_model(tmp_path / "detector.onnx"), tmp_path / "figures.json"
    assert run("evaluate", model, "--annotations", scene, "--images", tmp_path, "--json", out) == 0
    figures = json.loads(out.read_text())
    assert figures["AP50"] == pytest.approx(
        1.0
    )  # 32x48 px on the 0.6 canvas: 53x80 about the dot, IoU 0.72
    assert figures["recall_tall"] == 0  # nobody is taller than 96 px
    assert figures["false_per_image"] == 0
    assert figures["score_threshold"] == pytest.approx(0.3)
    words = "--box-threshold", 0.0, "--json", out
    assert run("evaluate", model, "--annotations", scene, "--images", tmp_path, *words) == 0
    figures = json.loads(out.read_text())
    assert figures["score_threshold"] == 0
    assert figures["false_per_image"] == 0.5  # the unlikely box, in one of two pictures


def test_boxes_of_the_detector_reach_the_pose_model(scene: Path, tmp_path: Path) -> None:
    pose, detector = (
        write_pose_model(tmp_path / "pose.onnx"),
        write_detector_model(tmp_path / "detector.onnx"),
    )
    out = tmp_path / "figures.json"
    words = ("evaluate", pose, "--annotations", scene, "--images", tmp_path, "--json", out)
    assert run(*words, "--boxes", "detector", "--detector", detector) == 0
    figures = json.loads(out.read_text())
    assert figures["boxes"] == "detector"
    assert figures["AP50"] > 0.9


def test_boxes_the_runtime_would_not_look_at_are_left_out() -> None:
    document = {**coco_document(), "annotations": []}
    truth = coco.parse(document, Path("truth.json"), keypoints=False)
    looked_at = []

    def detect(images: Crops) -> tuple[np.ndarray, np.ndarray]:
        looked_at.append(images.shape)
        boxes = [
            [[8, 8, 24, 24], [40, 8, 43, 40], [8, 40, 40, 43.5]]
        ]  # the second 3 px wide, the third 3.5 px high
        return np.array(boxes, np.float32), np.array([[0.9, 0.8, 0.7]], np.float32)

    with TemporaryDirectory() as folder:
        cv2.imwrite(f"{folder}/street.png", np.zeros((48, 64, 3), np.uint8))
        found = detected_boxes(truth, Path(folder), detect, canvas=Size(64, 64))
    assert looked_at == [(1, 64, 64, 3)]
    np.testing.assert_allclose(found[7].boxes_image, [[8, 8, 24, 24]], atol=1e-4)


@pytest.mark.parametrize(("threshold", "looked_at"), [(0.05, 2), (0.0, 3), (0.5, 1), (0.95, 0)])
def test_a_box_file_as_the_field_has_it_is_read_down_to_a_score(
    scene: Path, tmp_path: Path, threshold: float, looked_at: int
) -> None:
    model, out, boxes = (
        write_pose_model(tmp_path / "pose.onnx"),
        tmp_path / "figures.json",
        tmp_path / "boxes.json",
    )
    records = [
        {"image_id": 1, "category_id": 1, "bbox": BOX, "score": 0.9},
        {"image_id": 1, "category_id": 1, "bbox": [90, 90, 48, 64], "score": 0.3},
        {"image_id": 2, "category_id": 1, "bbox": BOX, "score": 0.04},
        {"image_id": 2, "category_id": 18, "bbox": BOX, "score": 0.99},  # a dog
    ]
    boxes.write_text(json.dumps(records))
    words = (
        "evaluate",
        model,
        "--annotations",
        scene,
        "--images",
        tmp_path,
        "--json",
        out,
        "--boxes",
        boxes,
    )
    assert run(*words, "--box-threshold", threshold) == 0
    figures = json.loads(out.read_text())
    assert figures["people"] == looked_at
    assert figures["AP"] == pytest.approx(1.0 if looked_at else 0.0)


# results for the test server


def image_list(scene: Path) -> Path:
    """The scene's images without annotations, as COCO gives those of test-dev."""
    document = json.loads(scene.read_text())
    for category in document["categories"]:
        del category["keypoints"], category["skeleton"]
    path = scene.with_name("image_info_test-dev2017.json")
    path.write_text(json.dumps({name: document[name] for name in ("images", "categories")}))
    return path


def test_results_are_written_where_nothing_can_be_measured(
    scene: Path, tmp_path: Path, capsys: Any
) -> None:
    model, boxes = write_pose_model(tmp_path / "pose.onnx"), tmp_path / "boxes.json"
    boxes.write_text(json.dumps([{"image_id": 1, "category_id": 1, "bbox": BOX, "score": 0.5}]))
    words = (
        "evaluate",
        model,
        "--annotations",
        image_list(scene),
        "--images",
        tmp_path,
        "--boxes",
        boxes,
    )
    assert (
        run(*words, "--results", tmp_path / "results.json", "--json", tmp_path / "figures.json")
        == 0
    )
    (record,) = json.loads((tmp_path / "results.json").read_text())
    assert record.keys() == {"image_id", "category_id", "keypoints", "score"}
    assert (record["image_id"], record["category_id"], len(record["keypoints"])) == (1, 1, 51)
    np.testing.assert_allclose(record["keypoints"][:2], DOT, atol=1)
    assert record["score"] == pytest.approx(
        0.5, abs=0.01
    )  # box score times the mean joint score, here 1
    assert "AP" not in json.loads((tmp_path / "figures.json").read_text())
    assert "AP" not in capsys.readouterr().out


def test_written_results_score_what_evaluate_says(scene: Path, tmp_path: Path) -> None:
    model, results, out = (
        write_pose_model(tmp_path / "pose.onnx"),
        tmp_path / "results.json",
        tmp_path / "figures.json",
    )
    words = (
        "evaluate",
        model,
        "--annotations",
        scene,
        "--images",
        tmp_path,
        "--results",
        results,
        "--json",
        out,
    )
    assert run(*words) == 0
    truth = coco.read(scene, keypoints=True)
    again = average_precision(truth, json.loads(results.read_text()), kind="keypoints")
    assert again == {name: json.loads(out.read_text())[name] for name in again}


@pytest.mark.parametrize("words", [(), ("--results", "results.json"), ("--boxes", "boxes.json")])
def test_a_list_of_images_needs_boxes_and_a_file_to_write(
    scene: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "boxes.json").write_text(json.dumps([{"image_id": 1, "bbox": BOX, "score": 0.5}]))
    model = write_pose_model(tmp_path / "pose.onnx")
    assert (
        run("evaluate", model, "--annotations", image_list(scene), "--images", tmp_path, *words)
        == 2
    )
    assert "has no annotations to compare with; expected --boxes FILE" in capsys.readouterr().err
    assert not (tmp_path / "results.json").exists()


# flip test and decoding


def dot_heatmaps(offset_px: float) -> Callable[[Crops], Heatmaps]:
    """A model of stride 4 whose map peaks where crop pixel x is cell (x - offset) / 4."""

    def heatmaps_of(crops: Crops) -> Heatmaps:
        gray = crops.astype(np.float32).sum(axis=3)
        y, x = np.divmod(gray.reshape(len(crops), -1).argmax(axis=1), crops.shape[2])
        points = np.stack([x - offset_px, y - 1.5], axis=1)[:, None] / 4
        return heatmap.encode(points.astype(np.float32), Size(32, 24), sigma_px=2.0)

    return heatmaps_of


ONE_JOINT = Skeleton(name="dot", joints=("dot",), limbs=(), sigmas=(0.1,), upper_body=())


def one_pixel(x: int, y: int) -> Crops:
    crops = np.zeros((1, 128, 96, 3), np.uint8)
    crops[0, y, x] = 255
    return crops


@pytest.mark.parametrize("x", [21, 40, 47, 70])
def test_a_mirrored_map_lies_where_it_should_without_a_shift(x: int) -> None:
    flipped = predict_from_heatmaps(dot_heatmaps(1.5), ONE_JOINT, stride=4, flip=True)
    shifted = predict_from_heatmaps(
        dot_heatmaps(1.5), ONE_JOINT, stride=4, flip=True, flip_shift=True
    )
    points, _ = flipped(one_pixel(x, 60))
    np.testing.assert_allclose(points[0, 0], (x, 60), atol=0.05)
    assert shifted(one_pixel(x, 60))[0][0, 0, 0] == pytest.approx(
        x + 2, abs=0.1
    )  # half of the one cell


def test_the_shift_is_for_maps_in_the_biased_convention() -> None:
    def points(**how: bool) -> float:
        predict = predict_from_heatmaps(dot_heatmaps(0.0), ONE_JOINT, stride=4, **how)  # pyright: ignore[reportArgumentType]
        return float(predict(one_pixel(40, 60))[0][0, 0, 0])

    alone = points(flip=False)
    assert points(flip=True) == pytest.approx(
        alone - 4 * 0.75 / 2, abs=0.1
    )  # 3/4 of a cell off, averaged
    assert points(flip=True, flip_shift=True) == pytest.approx(alone + 4 * 0.25 / 2, abs=0.1)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({(5, 4): 1.0}, (5, 4)),  # x, y; equal neighbors: the cell itself
        ({(5, 4): 1.0, (6, 4): 0.5}, (5.25, 4)),
        ({(5, 4): 1.0, (4, 4): 0.5, (5, 5): 0.1}, (4.75, 4.25)),
        ({(0, 4): 1.0, (1, 4): 0.9}, (0, 4)),  # the border's cells stay
        ({(5, 7): 1.0, (6, 7): 0.9}, (5, 7)),
    ],
)
def test_a_quarter_cell_towards_the_higher_neighbor(
    cells: dict[tuple[int, int], float], expected: tuple[float, float]
) -> None:
    maps = np.zeros((1, 1, 8, 12), np.float32)
    for (x, y), value in cells.items():
        maps[0, 0, y, x] = value
    points, scores = quarter_decode(maps)
    assert points[0, 0].tolist() == list(expected)
    assert scores.tolist() == [[1.0]]


@given(st.floats(3, 20), st.floats(3, 28))
def test_dark_is_nearer_than_a_quarter_cell_and_that_within_half_a_cell(x: float, y: float) -> None:
    maps = heatmap.encode(np.array([[[x, y]]], np.float32), Size(32, 24), sigma_px=2.0)
    quarter = np.abs(quarter_decode(maps)[0][0, 0] - (x, y)).max()
    assert quarter <= 0.251
    assert np.abs(heatmap.decode(maps).points_heatmap[0, 0] - (x, y)).max() <= 0.05


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--flip-shift",), "--flip-shift says how --flip averages; expected both"),
        (("--decoding", "quarter"), "gives no heatmaps, which --decoding quarter reads"),
        (("--box-threshold", "1.5"), "--box-threshold is 1.5; expected a number 0..1"),
        (("--flip",), "gives no heatmaps, which --flip averages"),
        (("--boxes", "nowhere.json"), "no box file nowhere.json"),
        (
            ("--boxes", "other.json"),
            "holds no box of an image of truth.json (of another data set?)",
        ),
        (
            ("--boxes", "detector", "--detector", "pose.onnx"),
            "is a pose model; expected a person detector",
        ),
        (("--box-threshold", "0.05"), "--boxes is gt, expected FILE or detector"),
        (("--detector", "pose.onnx"), "--detector is the one of --boxes detector; --boxes is gt"),
        (
            ("--detector", "pose.onnx", "--boxes", "other.json"),
            "--boxes is other.json, expected detector",
        ),
        (
            ("--boxes", "boxes.onnx"),
            "--boxes is boxes.onnx, a model; expected --boxes detector --detector boxes.onnx",
        ),
        (("--results", "out.json"), "--json and --results: two of them are one file"),
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
    (tmp_path / "other.json").write_text(
        json.dumps([{"image_id": 5, "bbox": [0, 0, 9, 9], "score": 1}])
    )
    assert (
        run(
            "evaluate",
            model,
            "--annotations",
            scene.name,
            "--images",
            tmp_path,
            "--json",
            "out.json",
            *words,
        )
        == 2
    )
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    "boxes", [(), ("--boxes", "detector", "--detector", "detector.onnx"), ("--boxes", "boxes.json")]
)
def test_a_missing_picture_is_told_before_any_is_looked_at(
    scene: Path,
    tmp_path: Path,
    boxes: tuple[str, ...],
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pose_model(tmp_path / "pose.onnx")
    write_detector_model(tmp_path / "detector.onnx")
    (tmp_path / "boxes.json").write_text(
        json.dumps([{"image_id": 2, "category_id": 1, "bbox": BOX, "score": 0.5}])
    )
    document = json.loads(scene.read_text())
    document["annotations"].append(document["annotations"][0] | {"id": 2, "image_id": 2})
    scene.write_text(json.dumps(document))
    (tmp_path / "b.png").unlink()
    words = ("evaluate", "pose.onnx", "--annotations", scene.name, *boxes, "--results", "out.json")
    looked_at: list[Path] = []
    monkeypatch.setattr("slimpose.evaluate.pose.read_image", looked_at.append)
    monkeypatch.setattr("slimpose.evaluate.detector.read_image", looked_at.append)
    assert run(*words, "--images", ".") == 2
    assert "truth.json names b.png, which is not in . (another folder?)" in capsys.readouterr().err
    assert run(*words, "--images", "nowhere") == 2
    assert "no image folder nowhere" in capsys.readouterr().err
    assert not looked_at


def test_nobody_to_look_at_is_no_ap_of_nought(scene: Path, tmp_path: Path, capsys: Any) -> None:
    document = json.loads(scene.read_text())
    scene.write_text(json.dumps(document | {"annotations": []}))
    model = write_pose_model(tmp_path / "pose.onnx")
    assert run("evaluate", model, "--annotations", scene, "--images", tmp_path) == 2
    assert (
        "truth.json: nobody has a labeled joint; expected people to look at"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--boxes", "detector"), "--boxes"),
        (("--detector", "other.onnx"), "--detector"),
        (("--flip", "--flip-shift"), "--flip, --flip-shift"),
        (("--decoding", "quarter", "--box-threshold", "0.5"), "--decoding"),
        (("--analyze", "page"), "--analyze"),
    ],
)
def test_a_detector_takes_no_options_about_poses(
    scene: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    told: str,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    model = write_detector_model(tmp_path / "model.onnx")
    assert (
        run(
            "evaluate",
            model,
            "--annotations",
            scene.name,
            "--images",
            tmp_path,
            "--json",
            "out.json",
            *words,
        )
        == 2
    )
    assert f"{told}: about poses; synthetic-detect is a person detector" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("option", ["--json", "--results"])
@pytest.mark.parametrize("name", ["truth.json", "boxes.json", "pose.onnx", "detector.onnx"])
def test_what_is_read_is_not_overwritten(
    scene: Path,
    tmp_path: Path,
    option: str,
    name: str,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pose_model(tmp_path / "pose.onnx")
    write_detector_model(tmp_path / "detector.onnx")
    (tmp_path / "boxes.json").write_text(
        json.dumps([{"image_id": 1, "category_id": 1, "bbox": BOX, "score": 0.5}])
    )
    boxes = (
        ("detector", "--detector", "detector.onnx") if name == "detector.onnx" else ("boxes.json",)
    )
    words = (
        "evaluate",
        "pose.onnx",
        "--annotations",
        scene.name,
        "--images",
        ".",
        "--boxes",
        *boxes,
    )
    before = (tmp_path / name).read_bytes()
    assert run(*words, option, tmp_path / name) == 2
    assert "is an input of this call; it would be overwritten" in capsys.readouterr().err
    assert (tmp_path / name).read_bytes() == before


# parity


def random_people(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A COCO file of some pictures and people, crowds and unlabeled ones too, and results near and far from them."""
    rng = np.random.default_rng(seed)
    people: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    images = [
        {"id": 3 * i, "file_name": f"{i}.png", "height": 400, "width": 400}
        for i in range(rng.integers(1, 5))
    ]
    for image in images:
        for _ in range(rng.integers(0, 5)):
            height = float(rng.integers(20, 300))
            box = [*map(float, rng.integers(0, 100, 2)), height / 2, height]
            points = (
                np.round(2 * (box[:2] + rng.random((17, 2)) * box[2:])) / 2
            )  # halves are exact in single precision
            seen = rng.integers(0, 3, 17) * (rng.random() < 0.85)
            people.append(
                {
                    "id": 10 + len(people),
                    "image_id": image["id"],
                    "category_id": 1,
                    "bbox": box,
                    "area": float(round(0.6 * height**2 / 2)),
                    "iscrowd": int(rng.random() < 0.1),
                    "num_keypoints": int((seen > 0).sum()),
                    "keypoints": np.concatenate([points, seen[:, None]], axis=1).ravel().tolist(),
                }
            )
            for _ in range(rng.integers(0, 3)):
                guess = points + rng.normal(0, 0.15 * rng.random() * height, (17, 2))
                triples = np.concatenate([guess.round(3), rng.random((17, 1)).round(3)], axis=1)
                found.append(
                    {
                        "image_id": image["id"],
                        "category_id": 1,
                        "keypoints": triples.ravel().tolist(),
                        "score": float(rng.random()),
                    }
                )
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO17.joints), "skeleton": []}]
    return {"info": {}, "images": images, "annotations": people, "categories": categories}, found


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_our_ap_is_that_of_pycocotools_run_on_the_files(seed: int) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    document, found = random_people(seed)
    if not found:
        return
    with TemporaryDirectory() as folder:
        truth, results = Path(folder) / "truth.json", Path(folder) / "results.json"
        truth.write_text(json.dumps(document))
        results.write_text(json.dumps(found))
        with contextlib.redirect_stdout(io.StringIO()):
            ground = COCO(str(truth))
            evaluation = COCOeval(ground, ground.loadRes(str(results)), "keypoints")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        ours = average_precision(coco.read(truth, keypoints=True), found, kind="keypoints")
    np.testing.assert_allclose(list(ours.values()), evaluation.stats, atol=1e-12)


@pytest.mark.shared
def test_the_shipped_models_find_the_people_of_the_sample_photos(tmp_path: Path) -> None:
    from slimpose.runtime.models import shipped

    truth = SHARED / "person_keypoints.json"
    if not truth.exists() or "mnv2" not in shipped():
        pytest.skip("needs the labeled sample photos and the shipped weights")
    out = tmp_path / "figures.json"
    assert run("evaluate", "mnv2", "--annotations", truth, "--images", PHOTOS, "--json", out) == 0
    assert json.loads(out.read_text())["AP"] > 0.45
    words = (
        "evaluate",
        "mnv2",
        "--annotations",
        truth,
        "--images",
        PHOTOS,
        "--json",
        out,
        "--boxes",
        "detector",
    )
    assert run(*words) == 0
    assert json.loads(out.read_text())["AP"] > 0.2
