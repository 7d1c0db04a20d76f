"""The page of an error analysis: self-contained, escaped, with images of the worst people."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from posed_people import ONE, OTHER, at, moved, pose, truth
from slimpose.evaluate.error_analysis import page
from slimpose.evaluate.error_analysis.analysis import ErrorAnalysis, analyze
from slimpose.evaluate.error_analysis.crops import side_by_side
from slimpose.evaluate.error_analysis.findings import findings
from slimpose.formats import coco
from slimpose.skeleton import COCO17


class Reader(HTMLParser):
    """Checks that tags close in order, and collects what a browser would load or run."""

    VOID = ("meta", "img", "link", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def write_page(folder: Path, file: coco.CocoFile, result: ErrorAnalysis) -> str:
    image = np.full((1000, 4000, 3), 90, np.uint8)
    for entry in file.images.values():
        (folder / entry.file_name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
    named = {"model": "a <b>net</b>", "protocol": "ground-truth boxes, no flip test"}
    return page.write(folder / "page", result, file, folder, **named).read_text(encoding="utf-8")


def test_page_is_self_contained_and_names_are_escaped(tmp_path: Path) -> None:
    joints = ["<script>alert(1)</script>", *COCO17.joints[1:]]
    file = truth(ONE, OTHER, joints=joints, file_name="a&b'<i>.png")
    html = write_page(tmp_path, file, analyze(file, [pose(moved(ONE, left_wrist=(0, 0)))]))
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    assert "script" not in reader.tags
    assert html.count("&lt;script&gt;") >= 1
    assert "a&amp;b&#x27;&lt;i&gt;.png" in html
    assert "a &lt;b&gt;net&lt;/b&gt;" in html
    assert len(reader.sources) == 2
    for source in reader.sources:
        data = base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        assert image.shape[1] > image.shape[0]  # two upright panels side by side
    assert re.search(r"https?://", html) is None
    figures = json.loads((tmp_path / "page" / "analysis.json").read_text())
    assert figures["precision"]["people"] == 2
    assert figures["kinds"]["not found"] == 17


def test_results_without_any_pose_can_be_analyzed(tmp_path: Path) -> None:
    result = analyze(truth(ONE), [])
    assert {kind: count for kind, count in result.kinds.items() if count} == {"not found": 17}
    assert (result.precision.ap, result.poses) == (0.0, 0)
    gains = {row.name: row.gain for row in result.oracles}
    assert gains["people not found"] == pytest.approx(1.0)
    assert "fixed, AP" not in " ".join(findings(result))
    assert "not found" in write_page(tmp_path, truth(ONE), result)


def test_page_of_a_skeleton_without_left_and_right_omits_inversions(tmp_path: Path) -> None:
    file = truth(ONE, joints=[f"point {number}" for number in range(17)])
    result = analyze(file, [pose(moved(ONE, left_wrist=at(ONE, "right_wrist")))])
    html = write_page(tmp_path, file, result)
    assert "<i" in html
    assert "</i>inversion" not in html


def test_truth_is_drawn_left_and_prediction_right() -> None:
    image = np.full((1000, 4000, 3), 90, np.uint8)
    wrong = pose(moved(ONE, nose=at(ONE, "nose", 90, -30)))
    right, missed = (
        side_by_side(image, analyze(truth(ONE), [predicted]).worst[0], COCO17).astype(int)
        for predicted in (pose(ONE), wrong)
    )
    changed = (right != missed).any(axis=2)
    half = changed.shape[1] // 2
    assert not changed[:, :half].any()
    is_vermilion = (missed == (213, 94, 0)).all(axis=2)  # the color of a miss
    assert (is_vermilion & changed)[:, half:].sum() > 20
