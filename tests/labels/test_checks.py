"""``slimpose check``: planted errors are found, clean labels are left alone, faults are listed."""

from __future__ import annotations

import copy
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from drawn_objects import HEIGHT, KINDS, WIDTH, Look, annotation, projected, write_dataset
from fuzz_harness import PYTHON_WORDS
from run_main import run_main
from slimpose.formats import coco
from slimpose.formats.coco import CocoFile
from slimpose.labels.checks.check import check_poses
from slimpose.labels.checks.images import check_images, check_leaks, difference_hash
from slimpose.labels.checks.left_right import model_evidence, side_evidence, swap_probability
from slimpose.labels.checks.pose_arrays import PoseArrays
from slimpose.labels.checks.structure import check_structure
from slimpose.labels.repair import repaired
from slimpose.media.images import read_image

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
Document = dict[str, Any]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    if not BENCHMARKS.is_dir():
        pytest.skip("the benchmarks are not next to the tests")
    sys.path.insert(0, str(BENCHMARKS))  # for its module ``machine``
    try:
        path = BENCHMARKS / "planted_label_errors.py"
        spec = importlib.util.spec_from_file_location("planted_label_errors", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


def drawn(name: str, count: int) -> CocoFile:
    """Labels of made objects, one in an image, with the noise of a human labeler."""
    kind, generator = KINDS[name], np.random.default_rng(7)
    images, annotations = [], []
    for number in range(1, count + 1):
        look = Look.draw(generator)
        points = projected(kind, generator)
        points *= look.size_px / max(0.5, float(np.abs(points[:, :2]).max()))
        points += 0.01 * look.size_px * generator.normal(0, 1, points.shape)
        points[:, :2] += (WIDTH / 2, HEIGHT / 2)
        hidden = generator.random(len(points)) < 0.05
        images.append(
            {"id": number, "file_name": f"{number}.png", "width": WIDTH, "height": HEIGHT}
        )
        key = {"id": number, "image_id": number, "category_id": 1}
        annotations.append(key | annotation(points, hidden, look))
    category = {"id": 1, "name": name, "keypoints": list(kind.joints), **kind.category}
    document = {"images": images, "annotations": annotations, "categories": [category]}
    return coco.parse(document, Path(name), keypoints=True, areas=False)


@pytest.fixture(scope="module")
def animals() -> CocoFile:
    return drawn("animal", 300)


@pytest.mark.parametrize(
    ("kind", "finds_swaps"),
    [
        ("person", True),  # faces the camera
        ("shears", True),  # the blades and the handles are on crossed sides
        ("animal", False),  # seen from both sides alike
        ("hand", False),  # has no mirror pairs
    ],
)
def test_planted_errors_are_found_in_made_skeletons(
    script: ModuleType, kind: str, finds_swaps: bool
) -> None:
    """Precision and recall by kind; what the labels cannot show is not flagged."""
    scenes = script.as_scenes(drawn(kind, 400), np.random.default_rng(1))
    planted, truth = script.plant(scenes, 60, np.random.default_rng(2))
    figures = script._sum([script.score(check_poses(PoseArrays.of(planted), planted), truth)])
    print(kind, figures)
    for name, least in (("duplicate", 0.95), ("off body", 0.9), ("box cuts joints", 0.9)):
        assert figures[name]["recall"] >= least, name
        assert figures[name]["precision"] >= 0.9, name
    if finds_swaps:
        assert figures["swap"]["recall"] >= 0.9
        assert figures["swap"]["precision"] >= 0.95
    else:
        assert figures["swap"]["false"] <= 4


def test_nothing_is_found_in_clean_labels(animals: CocoFile) -> None:
    findings = check_poses(PoseArrays.of(animals), animals)
    assert len(findings) <= 3, [one.text for one in findings]


def test_model_gives_away_swaps_that_the_labels_do_not_show() -> None:
    people = drawn("animal", 200)
    flip = people.skeleton.flip_indices
    clean = PoseArrays.of(people)
    swapped = np.arange(0, 200, 20)
    points, visibility = clean.points.copy(), clean.visibility.copy()
    points[swapped], visibility[swapped] = points[swapped][:, flip], visibility[swapped][:, flip]
    poses = PoseArrays(clean.people, points, visibility, clean.boxes)
    generator = np.random.default_rng(0)
    predicted = clean.points + generator.normal(0, 3, clean.points.shape)
    scores = np.full(clean.visibility.shape, 0.8)
    evidence = [
        side_evidence(poses, flip),
        model_evidence(poses, predicted, scores, flip),
    ]
    found = np.flatnonzero(swap_probability(np.stack(evidence, axis=1)) > 0.5)
    assert set(found) <= set(swapped)
    assert len(found) >= 8  # of 10; in some views left and right are at one place


def document() -> Document:
    """Two images with a dog each, of four joints."""
    joints = ["nose", "left_ear", "right_ear", "tail"]
    keypoints = [10, 12, 2, 20, 8, 2, 22, 16, 1, 0, 0, 0]
    images = [
        {"id": number, "file_name": f"{number}.png", "width": 64, "height": 48} for number in (1, 2)
    ]
    annotations = [
        {"id": 10 * number, "image_id": number, "category_id": 1, "bbox": [8, 6, 16, 12],
         "area": 150, "iscrowd": 0, "num_keypoints": 3, "keypoints": list(keypoints)}
        for number in (1, 2)
    ]  # fmt: skip
    categories = [{"id": 1, "name": "dog", "keypoints": joints, "skeleton": []}]
    return {"images": images, "annotations": annotations, "categories": categories}


def changed(change: Callable[[Document, Document, Document], object]) -> Document:
    result = document()
    change(result, result["images"][0], result["annotations"][0])
    return result


FAULTS: list[tuple[Callable[[Document, Document, Document], object], str]] = [
    (lambda d, i, a: d.pop("categories"), "expected images, annotations, categories"),
    (lambda d, i, a: d["categories"][0].pop("keypoints"), "no category has keypoints"),
    (lambda d, i, a: i.update(width=0), "width is 0"),
    (lambda d, i, a: i.update(file_name="../x.png"), "leaves the image folder"),
    (lambda d, i, a: i.update(id=2), "image id 2 is duplicated"),
    (lambda d, i, a: i.update(file_name="2.png"), "is that of several images"),
    (lambda d, i, a: a.update(id=20), "annotation id 20 is duplicated"),
    (lambda d, i, a: a.update(image_id=9), "image 9 is not in images"),
    (lambda d, i, a: a.update(keypoints=[1, 2]), "2 values; expected 12 finite numbers"),
    (lambda d, i, a: a.update(bbox=None), "bbox is None"),
    (lambda d, i, a: a.update(bbox=[8, 6, 0, 12]), "has no area"),
    (lambda d, i, a: a.update(bbox=[90, 6, 9, 12]), "lies outside the image"),
    (lambda d, i, a: a["keypoints"].__setitem__(2, 3), "expected 0 (absent)"),
    (lambda d, i, a: a.update(num_keypoints=4), "num_keypoints is 4; 3 keypoints are labeled"),
    (lambda d, i, a: a.update(area=1e6), "area 1e+06 does not fit"),
    (lambda d, i, a: a["keypoints"].__setitem__(0, 70), "1 labeled keypoints are outside"),
    (lambda d, i, a: a["keypoints"].__setitem__(slice(0, 2), [0, 0]), "1 keypoints at 0, 0"),
    (lambda d, i, a: a.update(iscrowd=7), "iscrowd is 7"),
    (lambda d, i, a: a.update(category_id=8), "category_id 8"),
]


@pytest.mark.parametrize(("change", "text"), FAULTS, ids=[text[:25] for _, text in FAULTS])
def test_structural_faults_are_listed(
    change: Callable[[Document, Document, Document], object], text: str
) -> None:
    _, findings = check_structure(changed(change), Path("labels.json"))
    assert any(text in one.text for one in findings), [one.text for one in findings]
    assert all(one.kind == "structure" for one in findings)


def test_numbers_may_be_text() -> None:
    texts = document()
    for entry in (*texts["images"], *texts["annotations"]):
        for field in ("id", "image_id", "width", "height", "num_keypoints", "category_id"):
            if field in entry:
                entry[field] = f" {entry[field]} " if field == "width" else str(entry[field])
    texts["annotations"][0]["image_id"] = 1.0
    file, findings = check_structure(texts, Path("labels.json"))
    assert findings == []
    assert file is not None
    assert len(file.people) == 2


BROKEN_CATEGORIES: list[dict[str, Any]] = [
    {"keypoints": ["a"] * 4}, {"keypoints": "a,b"}, {"skeleton": [[0, 1]]}, {"skeleton": [[1, 9]]},
    {"sigmas": [float("nan")] * 4}, {"sigmas": [0] * 4}, {"sigmas": [0.1]}, {"flip_pairs": "x"},
    {"flip_pairs": [[1, 9]]}, {"id": "x"}, {"id": None}, {"id": True},
]  # fmt: skip


@pytest.mark.parametrize("change", BROKEN_CATEGORIES, ids=str)
def test_broken_category_is_a_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any]
) -> None:
    broken = document()
    broken["categories"][0] |= change
    if "id" in change:
        for entry in broken["annotations"]:
            entry["category_id"] = change["id"]
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(broken))
    assert check(path, "--images", tmp_path, "--out", tmp_path / "page") == 1
    findings = json.loads((tmp_path / "page/findings.json").read_text())["findings"]
    assert any("categor" in one["text"] for one in findings)
    assert not PYTHON_WORDS.search("".join(one["text"] for one in findings))
    assert capsys.readouterr().err == ""


def test_all_faults_are_listed_and_the_rest_is_used() -> None:
    faulty = document()
    faulty["annotations"][0]["keypoints"][2] = 9
    faulty["annotations"] += [faulty["annotations"][0] | {"id": 11, "image_id": 7}]
    file, findings = check_structure(faulty, Path("labels.json"))
    assert {one.annotation_id for one in findings} == {10, 11}
    assert file is not None
    assert [one.id for one in file.people] == [20]


def test_file_without_labels_is_a_finding() -> None:
    empty = document()
    empty["annotations"] = []
    _, findings = check_structure(empty, Path("labels.json"))
    assert ["no instance has a labeled keypoint" in one.text for one in findings] == [True]


def test_sided_name_without_a_partner_is_a_finding() -> None:
    lonely = document()
    lonely["categories"][0]["keypoints"][1] = "left_eye"
    _, findings = check_structure(lonely, Path("labels.json"))
    assert any("'left_eye'" in one.text and "no partner" in one.text for one in findings)
    lonely["categories"][0]["flip_pairs"] = []
    assert check_structure(lonely, Path("labels.json"))[1] == []


def test_clean_document_has_no_faults() -> None:
    assert check_structure(document(), Path("labels.json"))[1] == []


def test_repair_corrects_what_is_certain_and_no_label() -> None:
    broken = document()
    first, second = broken["annotations"]
    first |= {"bbox": [0, 0, 0, 0], "area": 0, "num_keypoints": 7}
    second |= {"area": 1e9, "bbox": [8, 6, 6, 12]}
    fixed, lines = repaired(broken, extend={20: [1]})
    assert [one["keypoints"] for one in fixed["annotations"]] == [
        one["keypoints"] for one in document()["annotations"]
    ]
    one, two = fixed["annotations"]
    assert one["num_keypoints"] == 3
    assert one["bbox"] == pytest.approx([8.8, 6.8, 14.4, 10.4])
    assert one["area"] == pytest.approx(14.4 * 10.4, rel=1e-3)
    assert two["bbox"] == [8, 6, 12, 12]
    assert two["area"] == 144
    assert len(lines) == 4
    assert broken["annotations"][0]["bbox"] == [0, 0, 0, 0]  # a copy was changed
    again, nothing = repaired(copy.deepcopy(fixed))
    assert (again, nothing) == (fixed, [])


def test_repair_finds_ids_that_are_text() -> None:
    """A file with ids as text stayed as it was, and nothing said so."""
    broken = document()
    first, second = broken["annotations"]
    first |= {"bbox": [0, 0, 0, 0], "category_id": "1", "image_id": f"{first['image_id']}"}
    second |= {"id": "20", "bbox": [8, 6, 6, 12]}
    one, two = repaired(broken, extend={20: [1]})[0]["annotations"]
    assert one["bbox"] == pytest.approx([8.8, 6.8, 14.4, 10.4])
    assert two["bbox"] == [8, 6, 12, 12]


def test_outlines_of_another_image_size_give_no_areas() -> None:
    broken = document()
    outline = [4, 3, 12, 3, 12, 6, 4, 6]  # of the image at half its size
    broken["annotations"][0] |= {"area": 0, "segmentation": [outline]}
    assert repaired(broken)[0]["annotations"][0]["area"] == 192


def test_area_is_the_outlines_where_there_is_one() -> None:
    broken = document()
    broken["annotations"][0] |= {"area": 0, "segmentation": [[8, 6, 24, 6, 24, 12, 8, 12]]}
    assert repaired(broken)[0]["annotations"][0]["area"] == 96


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tools")
    write_dataset(KINDS["shears"], folder, 24, seed=5)
    return folder


def test_near_duplicates_in_train_and_val_are_found(dataset: Path, tmp_path: Path) -> None:
    """A copy that was scaled and compressed; not another image of the same kind."""
    train = coco.read(dataset / "labels.json", keypoints=True, areas=False)
    name = next(iter(train.images.values())).file_name
    image = cv2.imread(str(dataset / "images" / name))
    assert image is not None
    scaled = cv2.resize(image, (round(0.7 * image.shape[1]), round(0.7 * image.shape[0])))
    cv2.imwrite(str(tmp_path / "copy.jpg"), scaled, [cv2.IMWRITE_JPEG_QUALITY, 60])
    write_dataset(KINDS["shears"], tmp_path / "other", 6, seed=99)
    other = json.loads((tmp_path / "other/labels.json").read_text())
    (tmp_path / "copy.jpg").rename(tmp_path / "other/images/copy.jpg")
    height, width = scaled.shape[:2]
    other["images"].append({"id": 77, "file_name": "copy.jpg", "height": height, "width": width})
    val = coco.parse(other, tmp_path / "val.json", keypoints=True, areas=False)
    hashes = []
    for file, folder in ((train, dataset / "images"), (val, tmp_path / "other/images")):
        findings, found = check_images(file, folder)
        assert not findings
        hashes.append(found)
    assert [one.image_id for one in check_leaks(train, val, (hashes[0], hashes[1]))] == [77]


def test_image_without_contrast_has_no_hash() -> None:
    assert difference_hash(np.full((48, 64, 3), 90, np.uint8)) is None


def check(*arguments: object) -> int:
    return run_main("check", *arguments)


def test_page_and_exit_code_of_clean_data(dataset: Path, tmp_path: Path) -> None:
    assert check(dataset / "labels.json", "--out", tmp_path, "--allow", 5) == 0
    assert (tmp_path / "index.html").read_text().startswith("<!doctype html>")


def test_impossible_threads_are_rejected_without_a_model_too(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(dataset / "labels.json", "--out", tmp_path / "page", "--threads", 0) == 2
    assert "threads is 0; expected 1..1024" in capsys.readouterr().err
    assert not (tmp_path / "page").exists()


def test_errors_are_on_the_page_with_images(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faulty = json.loads((dataset / "labels.json").read_text())
    first = faulty["annotations"][0]
    faulty["annotations"].append(first | {"id": 999})
    first["num_keypoints"] = 99
    name = faulty["images"][1]["file_name"]
    faulty["images"][2]["width"] += 1
    faulty["images"].append(faulty["images"][1] | {"id": 998, "file_name": "<missing>.png"})
    path = tmp_path / "faulty.json"
    path.write_text(json.dumps(faulty))
    arguments = (path, "--images", dataset / "images", "--out", tmp_path / "page")
    assert check(*arguments, "--val", dataset / "labels.json", "--fix", tmp_path / "f.json") == 1
    findings = json.loads((tmp_path / "page/findings.json").read_text())["findings"]
    kinds = {one["kind"] for one in findings}
    assert {"structure", "image", "duplicate", "train and val"} <= kinds
    page = (tmp_path / "page/index.html").read_text()
    assert "data:image/jpeg;base64" in page
    assert "<missing>" not in page
    assert "&lt;missing&gt;.png" in page
    assert name in page
    fixed = json.loads((tmp_path / "f.json").read_text())["annotations"]
    assert fixed[0]["num_keypoints"] == sum(v > 0 for v in first["keypoints"][2::3])
    assert fixed[0]["keypoints"] == first["keypoints"]
    assert "train and val" in capsys.readouterr().out


def test_broken_image_is_reported_with_a_model_too(tmp_path: Path) -> None:
    """The model is run on the images that can be read."""
    write_dataset(KINDS["person"], tmp_path, 4, seed=1)
    file = coco.read(tmp_path / "labels.json", keypoints=True, areas=False)
    name = next(iter(file.images.values())).file_name
    (tmp_path / "images" / name).write_bytes(b"no image")
    findings, hashes = check_images(file, tmp_path / "images")
    assert [one.kind for one in findings] == ["image"]
    assert len(hashes) == 3
    assert read_image(tmp_path / "images" / list(file.images.values())[1].file_name).size


def test_model_of_other_joints_is_rejected(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(dataset / "labels.json", "--out", tmp_path, "--model", "mnv2") == 2
    assert "mnv2 outputs nose, left_eye" in capsys.readouterr().err
