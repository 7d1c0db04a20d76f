"""Where a heatmap network's cells lie is found by a trial on a sample photo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foreign_models import write_heatmaps
from slimpose import geometry, heatmap
from slimpose.arrays import Size
from slimpose.runtime.foreign import trial
from slimpose.runtime.foreign.facts import Facts
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
