"""Where a heatmap network's cells lie is found by a trial on a sample photo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import slimpose
from foreign_models import box_outputs, people_outputs, write_heatmaps, write_outputs
from slimpose import geometry, heatmap
from slimpose.arrays import Size
from slimpose.runtime.crops import fit_canvas
from slimpose.runtime.detector import Detector
from slimpose.runtime.foreign import trial
from slimpose.runtime.foreign.facts import Facts
from slimpose.runtime.foreign.kinds import KINDS
from slimpose.runtime.session import Session
from slimpose.skeleton import COCO17

FACTS = Facts(size=Size(256, 192), names=("maps",), joints=17, stride=4)
CELLS = Size(64, 48)


def network(step_px: np.ndarray, *, shift_px: float = 0.0, score: float = 0.9) -> Any:
    """Return what a network of such cells gives for the trial's crops and their mirror images."""
    photo = trial.sample_photo()
    assert photo is not None
    _, to_crops = trial._person_crops(photo, FACTS.size)
    points = geometry.transform_points(to_crops, np.tile(trial._POINTS, (3, 1, 1)))
    mirrored = points[:, COCO17.flip_indices] * [-1, 1] + [FACTS.size.width - 1, 0]
    noise = np.random.default_rng(0).normal(0, 0.8, (6, 17, 2))
    cells = (np.concatenate([points, mirrored]) + noise + shift_px) / step_px
    maps = score * heatmap.encode(cells.astype(np.float32), CELLS, sigma_px=2.0)
    return photo, lambda images: [maps] if len(images) == 6 else pytest.fail("one batch of six")


@pytest.mark.parametrize("is_last", [False, True])
def test_cells_at_corners_are_told_from_others(is_last: bool) -> None:
    for step_px, expected in (([191 / 47, 255 / 63], True), ([4.0, 4.0], False)):
        photo, run = network(np.array(step_px))
        turned = (
            (lambda images, run=run: [run(images)[0].transpose(0, 2, 3, 1)]) if is_last else run
        )
        assert trial.has_corner_cells(turned, photo, FACTS, COCO17) is expected


def test_networks_that_do_not_find_the_person_are_left_as_they_are() -> None:
    corners = np.array([191 / 47, 255 / 63])
    for odd in ({"shift_px": 60.0}, {"score": 0.1}):
        photo, run = network(corners, **odd)
        assert not trial.has_corner_cells(run, photo, FACTS, COCO17)


@pytest.mark.parametrize("has_corner_cells", [False, True])
def test_the_trial_decides_unless_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_corner_cells: bool
) -> None:
    monkeypatch.setattr(trial, "has_corner_cells", lambda *_: has_corner_cells)
    path = write_heatmaps(tmp_path / "net.onnx", "corners")
    assert Session(path).info.kind == ("vitpose" if has_corner_cells else "heatmaps")
    path.with_suffix(".toml").write_text('kind = "heatmaps"\n')
    assert Session(path).info.kind == "heatmaps"


INPUT = Size(96, 64)
ONE_STAGE = ("yolo-pose", "yolo-pose-nms", "rtmo", "detrpose")
DETECTORS = ("yolo", "yolo-nms", "yolox-nms", "picodet")


def write_shares(path: Path, kind: str, *, at: float = 0.0) -> Path:
    """Write a file that finds the person in the sample photo, in shares of its input.

    Points and boxes lie further right and down by ``at`` times the input.
    """
    photo = trial.sample_photo()
    assert photo is not None
    _, to_canvas = fit_canvas(photo, INPUT, KINDS[kind].fit)
    sides = np.array([INPUT.width, INPUT.height], np.float32)
    corners = geometry.transform_points(to_canvas, trial._BOX.reshape(1, 2, 2))[0] / sides + at
    points = geometry.transform_points(to_canvas, trial._POINTS[None])[0] / sides + at
    box, centers = corners.ravel(), [*corners.mean(axis=0), *(corners[1] - corners[0])]
    triples = np.concatenate([points, np.full((17, 1), 0.75)], axis=1).ravel()
    outputs = people_outputs(17)[kind] if kind in ONE_STAGE else box_outputs()[kind]
    if kind == "yolo-pose":
        outputs["output0"][0, :4, [3, 7]] = centers
        outputs["output0"][0, 5:, [3, 7]] = triples
    elif kind == "yolo-pose-nms":
        outputs["output0"][0, 0] = [*box, 0.9, 0, *triples]
    elif kind == "yolo":
        outputs["output0"][0, :4, 3] = centers
    elif kind == "yolo-nms":
        outputs["output0"][0, 0, :4] = box
    elif kind == "picodet":
        outputs["boxes"][0, 1] = box
    elif kind == "detrpose":
        outputs["keypoints"][:] = points
    else:
        outputs["dets"][0, 0, :4] = box
        if kind == "rtmo":
            outputs["keypoints"][0, 0] = triples.reshape(17, 3)
    if kind == "yolox-nms":
        path.with_suffix(".toml").write_text(f'kind = "{kind}"\n')
    return write_outputs(path, INPUT, outputs)


@pytest.mark.parametrize("kind", ONE_STAGE)
def test_normalized_points_become_pixels(tmp_path: Path, kind: str, caplog: Any) -> None:
    photo = trial.sample_photo()
    assert photo is not None
    poses = slimpose.load(write_shares(tmp_path / "net.onnx", kind))(photo)
    np.testing.assert_allclose(poses.points_image, trial._POINTS[None], atol=0.05)
    if kind != "detrpose":
        np.testing.assert_allclose(poses.boxes_image, trial._BOX, atol=0.05)
    assert not caplog.records


@pytest.mark.parametrize("kind", DETECTORS)
def test_normalized_boxes_become_pixels(tmp_path: Path, kind: str) -> None:
    photo = trial.sample_photo()
    assert photo is not None
    boxes, _ = Detector(Session(write_shares(tmp_path / "net.onnx", kind)))(photo)
    np.testing.assert_allclose(boxes, trial._BOX, atol=0.5)


def test_what_may_be_normalized_is_reported_and_can_be_said(tmp_path: Path, caplog: Any) -> None:
    path = write_shares(tmp_path / "net.onnx", "rtmo", at=0.6)
    slimpose.load(path)
    slimpose.load(path)
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert record.name.startswith("slimpose.")
    assert 'coordinates = "normalized" or "pixels" (in net.toml' in record.getMessage()
    caplog.clear()
    photo = np.zeros((192, 128, 3), np.uint8)
    for said, width_px in (("pixels", 0), ("normalized", 60)):
        path.with_suffix(".toml").write_text(f'coordinates = "{said}"\n')
        poses = slimpose.load(path)(photo)
        assert (len(poses) and np.ptp(poses.points_image[..., 0]) > 20) == (width_px > 0)
    assert not caplog.records
    path.with_suffix(".toml").write_text('coordinates = "shares"\n')
    with pytest.raises(ValueError, match="expected one of pixels, normalized"):
        Session(path)
    maps = write_heatmaps(tmp_path / "maps.onnx")
    maps.with_suffix(".toml").write_text('coordinates = "normalized"\n')
    with pytest.raises(ValueError, match=r"of a kind that gives them in pixels \(got heatmaps"):
        Session(maps)
