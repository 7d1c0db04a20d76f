"""The error budget: planted errors are called what they are, and what mending them brings can be worked out."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slimpose.arrays import Size
from slimpose.cli.main import main
from slimpose.evaluate.error_analysis import page
from slimpose.evaluate.error_analysis.analysis import ErrorAnalysis, analyze
from slimpose.evaluate.error_analysis.crops import side_by_side
from slimpose.evaluate.error_analysis.findings import findings, short_table
from slimpose.evaluate.error_analysis.matching import average_precision, matching_input, poses_by_image
from slimpose.formats import coco
from slimpose.skeleton import COCO17
from synthetic_models import dot_image, write_detector_model, write_pose_model

AREA = 10_000.0
SIZE = math.sqrt(AREA)
JOINTS = {name: number for number, name in enumerate(COCO17.joints)}
GRID = np.array([[60.0 * (joint % 4), 60.0 * (joint // 4)] for joint in range(17)])
"""Joints so far apart that each is like no other: exp(-60^2 / (2 (0.214 * 100)^2)) is 0.02 for the widest."""

Keypoints = np.ndarray
Record = dict[str, Any]


def person(x: float, y: float = 100.0, *, visibility: int = 2) -> Keypoints:
    """Keypoints (17, 3) of somebody whose first joint is at x, y."""
    return np.concatenate([GRID + np.array([x, y]), np.full((17, 1), float(visibility))], axis=1)


def truth(
    *people: Keypoints,
    areas: Sequence[float] = (),
    joints: Sequence[str] = COCO17.joints,
    file_name: str = "a.png",
    crowds: Sequence[int] = (),
) -> coco.CocoFile:
    """One picture of 4000x1000 (width x height) with these people, annotations 11, 12, ..."""
    annotations = []
    for number, keypoints in enumerate(people):
        low, high = keypoints[:, :2].min(axis=0), keypoints[:, :2].max(axis=0)
        annotations.append(
            {
                "id": 11 + number,
                "image_id": 5,
                "category_id": 1,
                "bbox": [*low, *(high - low + 1)],
                "area": areas[number] if areas else AREA,
                "iscrowd": int(number in crowds),
                "keypoints": keypoints.ravel().tolist(),
            }
        )
    document = {
        "images": [{"id": 5, "file_name": file_name, "height": 1000, "width": 4000}],
        "categories": [{"id": 1, "name": "person", "keypoints": list(joints), "skeleton": []}],
        "annotations": annotations,
    }
    return coco.parse(document, Path("truth.json"), keypoints=True)


def pose(keypoints: Keypoints, *, score: float = 0.9) -> Record:
    triples = np.concatenate([keypoints[:, :2], np.full((len(keypoints), 1), 0.8)], axis=1)
    return {"image_id": 5, "category_id": 1, "keypoints": triples.ravel().tolist(), "score": score}


def away(joint: str, similarity: float) -> float:
    """How many pixels a joint of these people is off at a similarity."""
    return math.sqrt(-2 * math.log(similarity)) * 2 * COCO17.sigmas[JOINTS[joint]] * SIZE


def moved(keypoints: Keypoints, **to: np.ndarray | Sequence[float]) -> Keypoints:
    result = keypoints.copy()
    for joint, place in to.items():
        result[JOINTS[joint], :2] = place
    return result


def at(keypoints: Keypoints, joint: str, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """Where a joint is, or so many pixels from there."""
    return keypoints[JOINTS[joint], :2] + np.array([x, y])


def kinds(analysis: ErrorAnalysis) -> dict[str, int]:
    return {kind: count for kind, count in analysis.kinds.items() if count}


def gains(analysis: ErrorAnalysis) -> dict[str, float]:
    return {row.name: row.gain for row in analysis.oracles}


ONE, OTHER = person(100), person(1000)


def test_a_perfect_pose_leaves_nothing_to_work_on() -> None:
    result = analyze(truth(ONE, OTHER), [pose(ONE), pose(OTHER)])
    assert kinds(result) == {"good": 34}
    assert result.precision.ap == pytest.approx(1.0)
    assert set(gains(result).values()) == {0.0}
    assert findings(result) == ["Nothing is lost: every labeled joint is good."]
    assert all(
        row.precision is not None and row.precision.ap == pytest.approx(1.0)
        for row in result.joints
    )


@pytest.mark.parametrize(
    ("joint", "place", "kind"),
    [
        ("nose", at(ONE, "nose", away("nose", 0.86)), "good"),  # just over 0.85
        ("nose", at(ONE, "nose", away("nose", 0.84)), "jitter"),  # just under 0.85
        ("left_wrist", at(ONE, "left_wrist", 0, away("left_wrist", 0.51)), "jitter"),
        (
            "left_wrist",
            at(ONE, "left_wrist", 0, away("left_wrist", 0.49)),
            "miss",
        ),  # near nothing else
        ("left_wrist", at(ONE, "right_wrist", away("left_wrist", 0.6)), "inversion"),
        (
            "left_wrist",
            at(ONE, "right_wrist", away("left_wrist", 0.4)),
            "miss",
        ),  # not near enough to it
        ("left_wrist", at(OTHER, "left_wrist"), "swap"),  # the same joint of another person
        ("left_wrist", at(OTHER, "right_wrist"), "swap"),  # and its mirror partner
        ("left_wrist", at(OTHER, "nose"), "miss"),  # no such joint there
        (
            "left_wrist",
            at(ONE, "left_knee"),
            "miss",
        ),  # another joint of the same person is no left and right
        ("nose", at(ONE, "left_eye"), "miss"),  # the nose has no mirror partner
    ],
)
def test_a_planted_error_is_called_what_it_is(joint: str, place: np.ndarray, kind: str) -> None:
    result = analyze(truth(ONE, OTHER), [pose(moved(ONE, **{joint: place})), pose(OTHER)])
    assert kinds(result) == ({"good": 34} if kind == "good" else {"good": 33, kind: 1})
    row = result.joints[JOINTS[joint]]
    assert row.kinds[kind] == (1.0 if kind == "good" else 0.5)
    assert row.labeled == 2


def test_between_inversion_and_swap_the_nearer_joint_decides() -> None:
    near = person(100)
    near[:, :2] += at(ONE, "right_wrist") - at(
        ONE, "left_wrist"
    )  # its left wrist on ONE's right wrist
    near[JOINTS["left_wrist"], :2] += [6.0, 0]
    for shift, kind in ((0.0, "inversion"), (6.0, "swap")):
        wrong = moved(ONE, left_wrist=at(ONE, "right_wrist", shift))
        result = analyze(truth(ONE, near), [pose(wrong), pose(near, score=0.8)])
        assert result.joints[JOINTS["left_wrist"]].kinds[kind] == 0.5


def test_joints_that_are_not_labeled_are_of_no_kind_and_attract_nothing() -> None:
    blind = ONE.copy()
    blind[JOINTS["right_wrist"], 2] = 0
    result = analyze(
        truth(blind), [pose(moved(ONE, left_wrist=at(ONE, "right_wrist"), right_wrist=(0, 0)))]
    )
    assert kinds(result) == {"good": 15, "miss": 1}
    assert result.joints[JOINTS["right_wrist"]].labeled == 0
    assert result.joints[JOINTS["right_wrist"]].precision is None


@pytest.mark.parametrize("wrong", [1, 3, 8])
def test_what_mending_brings_is_exact(wrong: int) -> None:
    """With m of 17 joints right OKS is m/17, and AP the share of the ten thresholds that are no higher."""
    bad = ONE.copy()
    bad[:wrong, :2] += [0, 5000]
    result = analyze(truth(ONE), [pose(bad)])
    before = sum(threshold <= (17 - wrong) / 17 for threshold in np.linspace(0.5, 0.95, 10)) / 10
    assert result.precision.ap == pytest.approx(before)
    assert gains(result)["miss"] == pytest.approx(1 - before)
    assert gains(result)["jitter"] == 0
    assert sum(row.gain for row in result.joints[wrong:]) == 0


def test_each_kind_is_mended_alone_and_all_together() -> None:
    """3 missed and 4 inverted of 17: OKS 10/17 passes 2 thresholds, 13/17 6, 14/17 7, 17/17 all."""
    pairs = ("left_wrist", "right_wrist"), ("left_ankle", "right_ankle")
    places = {a: at(ONE, b) for pair in pairs for a, b in (pair, pair[::-1])}
    places |= dict.fromkeys(("nose", "left_hip", "left_knee"), (0.0, 3000.0))
    result = analyze(truth(ONE), [pose(moved(ONE, **places))])
    assert kinds(result) == {"good": 10, "inversion": 4, "miss": 3}
    assert {row.name: row.fixed_ap for row in result.oracles} == pytest.approx(
        {
            "jitter": 0.2,
            "inversion": 0.7,
            "swap": 0.2,
            "miss": 0.6,
            "all of these": 1.0,
            "hidden joints": 0.2,
            "people not found": 0.2,
            "false poses": 0.2,
            "order of the poses": 0.2,
        }
    )


def test_mending_hidden_joints_leaves_the_visible_as_they_are() -> None:
    half = ONE.copy()
    half[:8, 2] = 1
    bad = ONE.copy()
    bad[4:12, :2] += [0, 5000]  # 4 hidden, 4 visible: 9/17 passes 1 threshold, 13/17 passes 6
    result = analyze(truth(half), [pose(bad)])
    hidden = next(row for row in result.oracles if row.name == "hidden joints")
    assert (hidden.count, hidden.total) == (4, 8)
    assert (result.precision.ap, hidden.fixed_ap) == pytest.approx((0.1, 0.6))
    eye, ear = result.joints[JOINTS["left_eye"]], result.joints[JOINTS["right_ear"]]
    assert (eye.pck_hidden, eye.pck_visible, ear.pck_hidden) == (1.0, None, 0.0)


def test_people_without_a_pose_are_not_found_and_finding_them_is_worth_the_rest() -> None:
    result = analyze(truth(ONE, OTHER), [pose(ONE)])
    assert kinds(result) == {"good": 17, "not found": 17}
    assert result.precision.ap == pytest.approx(51 / 101)  # recalls 0, 0.01, ..., 0.50 of 101
    assert gains(result)["people not found"] == pytest.approx(50 / 101)
    assert gains(result)["all of these"] == 0
    assert result.worst[0].person_id == 12
    assert not result.worst[0].is_matched


def test_nobody_found_at_all_is_an_analysis_too(tmp_path: Path) -> None:
    result = analyze(truth(ONE), [])
    assert kinds(result) == {"not found": 17}
    assert (result.precision.ap, result.poses) == (0.0, 0)
    assert gains(result)["people not found"] == pytest.approx(1.0)
    assert "mended, AP" not in " ".join(findings(result))
    assert "not found" in write_page(tmp_path, truth(ONE), result)


def test_a_false_pose_scored_first_costs_what_its_absence_brings() -> None:
    """One true and one false pose above it: precision 1/2 at every recall."""
    result = analyze(truth(ONE), [pose(ONE, score=0.5), pose(person(2500), score=0.9)])
    assert result.precision.ap == pytest.approx(0.5)
    assert gains(result)["false poses"] == pytest.approx(0.5)
    assert gains(result)["order of the poses"] == pytest.approx(0.5)
    false = next(row for row in result.oracles if row.name == "false poses")
    assert (false.count, false.total) == (1, 2)


def test_a_skeleton_without_left_and_right_has_no_inversions(tmp_path: Path) -> None:
    joints = [f"point {number}" for number in range(17)]
    file = truth(ONE, joints=joints)
    result = analyze(file, [pose(moved(ONE, left_wrist=at(ONE, "right_wrist")))])
    assert result.kinds["miss"] == 1
    assert "inversion" not in gains(result)
    assert "inversion" not in short_table(result)
    assert "<i" in (page := write_page(tmp_path, file, result))
    assert "</i>inversion" not in page


def rows(result: ErrorAnalysis, name: str) -> dict[str, float]:
    """AP by row of the grouping."""
    grouping = next(one for one in result.groupings if one.name == name)
    return {row.name: row.precision.ap for row in grouping.rows if row.precision is not None}


def test_groups_are_measured_apart() -> None:
    """The large person is found; the small one's pose has 13 of 17 joints right (6 thresholds of 10)."""
    bad = OTHER.copy()
    bad[:4, :2] += [0, 500]
    result = analyze(
        truth(ONE, OTHER, areas=(10_000.0, 3_600.0)), [pose(ONE), pose(bad, score=0.95)]
    )
    assert rows(result, "Size") == pytest.approx({"48 to 64": 0.6, "96 to 128": 1.0})
    assert rows(result, "Crowding") == pytest.approx({"none": result.precision.ap})
    assert rows(result, "Cut by the picture's border") == pytest.approx({"no": result.precision.ap})
    sizes = next(one for one in result.groupings if one.name == "Size")
    assert {row.name: row.lost_share for row in sizes.rows if row.lost_share > 1e-9} == pytest.approx(
        {"48 to 64": 1.0}
    )


@pytest.mark.parametrize(
    ("people", "grouping", "expected"),
    [
        (
            (person(100), person(190)),
            "Crowding",
            {"0.3 to 0.5"},
        ),  # 181x241 boxes, 90 px apart: 91/271
        ((person(100), person(280)), "Crowding", {"under 0.1"}),
        ((person(1), person(1000)), "Cut by the picture's border", {"no", "yes"}),
        ((person(3818), person(1000)), "Cut by the picture's border", {"no", "yes"}),
        ((person(100, visibility=1), person(1000)), "Hidden joints", {"none", "half and more"}),
        ((person(100), person(1000)), "Labeled joints", {"more"}),
    ],
)
def test_people_are_put_into_the_group_they_belong_to(
    people: tuple[np.ndarray, ...], grouping: str, expected: set[str]
) -> None:
    result = analyze(truth(*people), [pose(one) for one in people])
    assert rows(result, grouping) == pytest.approx(dict.fromkeys(expected, 1.0))


def test_the_worst_people_are_those_with_most_joints_lost() -> None:
    people = [person(100 + 400 * number) for number in range(3)]
    records = []
    for number, one in enumerate(people):
        bad = one.copy()
        bad[: 2 * number, :2] += [0, 700]
        records.append(pose(bad))
    result = analyze(truth(*people), records)
    assert [one.person_id for one in result.worst] == [13, 12, 11]
    assert [one.joints_lost for one in result.worst] == pytest.approx([4.0, 2.0, 0.0])


def test_a_crowd_and_people_without_joints_are_nobodys_error() -> None:
    blank = person(2000)
    blank[:, 2] = 0
    result = analyze(truth(ONE, OTHER, blank, crowds=[1]), [pose(ONE), pose(OTHER), pose(blank)])
    assert kinds(result) == {"good": 17}
    assert (result.precision.people, result.precision.ap) == (1, pytest.approx(1.0))


def test_a_file_without_labels_is_refused() -> None:
    blank = person(100)
    blank[:, 2] = 0
    with pytest.raises(ValueError, match=r"truth\.json: nobody has a labeled joint"):
        analyze(truth(blank), [])


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_average_precision_is_that_of_pycocotools(seed: int) -> None:
    from slimpose.evaluate.coco_ap import average_precision as by_pycocotools

    rng = np.random.default_rng(seed)
    people, records = [], []
    for number in range(rng.integers(1, 6)):
        one = person(float(rng.integers(0, 800)), float(rng.integers(0, 300)))
        one[rng.random(17) < rng.random() ** 3, 2] = 0
        people.append(one)
        for _ in range(rng.integers(0 if number else 1, 3)):
            noisy = one.copy()
            noisy[:, :2] += rng.normal(
                0, 10 ** rng.uniform(-1, 1.6), (17, 1 if rng.random() < 0.5 else 2)
            )
            records.append(pose(noisy, score=float(rng.integers(1, 5)) / 5))
    areas = [float(rng.uniform(300, 60_000)) for _ in people]
    file = truth(*people, areas=areas, crowds=[0] if rng.random() < 0.2 else [])
    expected = by_pycocotools(file, records, kind="keypoints")
    sigmas = np.array(COCO17.sigmas)
    figure = average_precision([matching_input(scene, sigmas) for scene in poses_by_image(file, records)])
    if figure is None:
        assert not any(
            one.keypoints is not None and one.keypoints[:, 2].any()
            for one in file.people
            if not one.is_crowd
        )
        return
    assert [figure.ap, figure.ap50, figure.ap75] == pytest.approx(
        [expected[name] for name in ("AP", "AP50", "AP75")]
    )
    result = analyze(file, records)
    sizes = {row.name: row.precision for row in result.groupings[0].rows}
    for name, key in (("medium (32² to 96²)", "APM"), ("large (over 96²)", "APL")):
        found = sizes[name]
        assert (-1.0 if found is None else found.ap) == pytest.approx(expected[key])
    joint = int(rng.integers(17))
    alone = by_pycocotools(_only_joint(file, joint), records, kind="keypoints")["AP"]
    row = result.joints[joint].precision
    assert (-1.0 if row is None else row.ap) == pytest.approx(alone)


def _only_joint(file: coco.CocoFile, joint: int) -> coco.CocoFile:
    """The file with every other joint unlabeled."""
    people = []
    for one in file.people:
        assert one.keypoints is not None
        keypoints = one.keypoints.copy()
        keypoints[[other for other in range(17) if other != joint], 2] = 0
        people.append(dataclasses.replace(one, keypoints=keypoints))
    return dataclasses.replace(file, people=tuple(people))


class Reader(HTMLParser):
    """Checks that tags close in order, and keeps what a browser would load or run."""

    VOID = ("meta", "img", "link", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def write_page(folder: Path, file: coco.CocoFile, result: ErrorAnalysis) -> str:
    image = np.full((1000, 4000, 3), 90, np.uint8)
    for entry in file.images.values():
        (folder / entry.file_name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
    subject = page.PageHeader(model="a <b>net</b>", protocol="ground-truth boxes, no flip test")
    return page.write(folder / "page", result, subject, file, folder).read_text(encoding="utf-8")


def test_the_page_stands_alone_and_names_cannot_break_it(tmp_path: Path) -> None:
    joints = ["<script>alert(1)</script>", *COCO17.joints[1:]]
    file = truth(ONE, OTHER, joints=joints, file_name="a&b'<i>.png")
    page = write_page(tmp_path, file, analyze(file, [pose(moved(ONE, left_wrist=(0, 0)))]))
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert "script" not in reader.seen
    assert page.count("&lt;script&gt;") >= 1
    assert "a&amp;b&#x27;&lt;i&gt;.png" in page
    assert "a &lt;b&gt;net&lt;/b&gt;" in page
    assert len(reader.sources) == 2
    for source in reader.sources:
        data = base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape[1] > picture.shape[0]  # two upright panels side by side
    assert re.search(r"https?://", page) is None
    figures = json.loads((tmp_path / "page" / "analysis.json").read_text())
    assert figures["precision"]["people"] == 2
    assert figures["kinds"]["not found"] == 17


def test_the_truth_is_drawn_on_the_left_and_what_was_found_on_the_right() -> None:
    image = np.full((1000, 4000, 3), 90, np.uint8)
    wrong = pose(moved(ONE, nose=at(ONE, "nose", 90, -30)))
    right, missed = (
        side_by_side(image, analyze(truth(ONE), [found]).worst[0], COCO17).astype(int)
        for found in (pose(ONE), wrong)
    )
    changed = (right != missed).any(axis=2)
    half = changed.shape[1] // 2
    assert not changed[:, :half].any()
    is_vermilion = (missed == (213, 94, 0)).all(axis=2)  # the color of a miss
    assert (is_vermilion & changed)[:, half:].sum() > 20


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return int(stopped.value.code or 0)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A picture with one person whose joints are where the synthetic pose model puts them, but the nose."""
    cv2.imwrite(str(tmp_path / "a.png"), dot_image(Size(160, 160), 64, 62))
    keypoints = [value for joint in range(17) for value in (64 + joint / 4 / 0.8, 62, 2)]
    keypoints[0] += 30
    document = {
        "images": [{"id": 1, "file_name": "a.png", "height": 160, "width": 160}],
        "categories": [
            {"id": 1, "name": "person", "keypoints": list(COCO17.joints), "skeleton": []}
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "iscrowd": 0,
                "area": 3072.0,
                "keypoints": keypoints,
            }
            | {"bbox": [40.0, 30.0, 48.0, 64.0], "num_keypoints": 17}
        ],
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(document))
    return path


def test_evaluate_writes_the_page_and_prints_the_table(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = write_pose_model(tmp_path / "pose.onnx"), tmp_path / "new" / "page"
    words = ("evaluate", model, "--annotations", scene, "--images", tmp_path, "--analyze", out)
    assert run(*words) == 0
    printed = capsys.readouterr().out
    assert "mended" in printed
    assert str(out / "index.html") in printed.replace("\n", "")
    figures = json.loads((out / "analysis.json").read_text())
    assert figures["kinds"] == {
        "good": 16,
        "jitter": 0,
        "inversion": 0,
        "swap": 0,
        "miss": 1,
        "not found": 0,
    }
    assert figures["model"] == "synthetic-pose"
    assert "synthetic-pose" in (out / "index.html").read_text()
    assert sorted(path.name for path in out.iterdir()) == ["analysis.json", "index.html"]


@pytest.mark.parametrize(
    ("target", "model", "code", "message"),
    [
        ("truth.json", "pose", 2, "truth.json is a file; expected a folder"),
        ("truth.json/page", "pose", 1, "cannot write to"),
        ("page", "detector", 2, "--analyze: about poses; synthetic-detect is a person detector"),
    ],
)
def test_what_cannot_be_analyzed_is_told_before_the_work(
    scene: Path,
    tmp_path: Path,
    target: str,
    model: str,
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = {"pose": write_pose_model, "detector": write_detector_model}[model](
        tmp_path / "model.onnx"
    )
    (tmp_path / "a.png").unlink()  # the work would fail on the missing picture
    words = (
        "evaluate",
        file,
        "--annotations",
        scene,
        "--images",
        tmp_path,
        "--analyze",
        tmp_path / target,
    )
    assert run(*words) == code
    assert message in " ".join(capsys.readouterr().err.split())
