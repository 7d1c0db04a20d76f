"""``slimpose motion`` end to end: poses of a known walker, and a video of a swinging person."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from moving_person import HEIGHT_M, poses_over_time, walk, write_csv
from run_main import run_main
from slimpose.media.images import read_image
from slimpose.motion.angles import wrap
from slimpose.skeleton import COCO17

Capture = pytest.CaptureFixture[str]
PHOTO = Path(__file__).parents[2] / "examples/photos/000000544444.jpg"
TIMES_S = np.arange(240) / 30


@pytest.fixture
def poses(tmp_path: Path) -> Path:
    """A walker with noise, outliers and gaps, as ``predict --csv`` writes it."""
    people = poses_over_time(walk(TIMES_S), COCO17, noise_px=1.0, outliers=0.03, gaps=0.05)
    return write_csv(tmp_path / "poses.csv", people, TIMES_S)


def test_angles_of_a_walker_are_within_two_degrees(poses: Path, capsys: Capture) -> None:
    out = poses.with_name("walk.csv")
    assert run_main("motion", poses, "--out", out, "--person-height-m", HEIGHT_M) == 0
    text = capsys.readouterr().out
    assert "person 1 in a.mp4: 240 frames" in text
    assert "facing: right" in text
    assert "(no left_heel)" in text
    table = pd.read_csv(out)
    compared = 0
    for name, true in walk(TIMES_S).degrees.items():
        if f"{name}_deg" in table:
            errors = wrap(table[f"{name}_deg"].to_numpy() - true)
            assert np.sqrt(np.nanmean(errors**2)) < 2, name
            compared += 1
    assert compared == 17
    assert run_main("motion", poses, "--out", out) == 2
    assert "exists; --overwrite replaces it" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".trc", ".c3d", ".mot", ".csv"])
@pytest.mark.parametrize("options", [(), ("--filter", "butterworth", "--rate-hz", "60")])
def test_every_format_is_written(
    poses: Path, suffix: str, options: tuple[str, ...], capsys: Capture
) -> None:
    out = poses.with_name(f"walk{suffix}")
    assert run_main("motion", poses, "-o", out, "--id", 1, *options) == 0
    assert out.stat().st_size > 1000
    text = capsys.readouterr().out
    assert f"written: {out}" in text
    assert ("resampled from 30 to 60 Hz" in text) == bool(options)
    assert ("OpenSim's GUI" in text) == (suffix == ".mot")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{poses}", "-o", "a.bvh"], "--out is a.bvh; expected a name ending in .trc, .c3d"),
        (["none.csv", "-o", "a.trc"], "no file of people none.csv"),
        (["{poses}", "-o", "{poses}"], "is an input of this call"),
        (["{poses}", "-o", "a.trc", "--id", "5"], "--id is 5; expected one of the ids [1]"),
        (["{poses}", "-o", "a.trc", "--source", "b"], "--source is 'b'; expected one of"),
        (["{poses}", "-o", "a.trc", "--cutoff-hz", "0"], "cutoff_hz is 0; expected Hz"),
        (["{poses}", "-o", "a.trc", "--cutoff-hz", "20", "--filter", "butterworth"], "half of"),
        (["{poses}", "-o", "a.trc", "--px-per-meter", "9", "--person-height-m", "2"], "two scales"),
        (["{poses}", "-o", "a.trc", "--px-per-meter", "-9"], "px_per_meter is -9"),
        (["{poses}", "-o", "a.trc", "--person-height-m", "175"], "height is 175 m"),
        (["{poses}", "-o", "a.trc", "--every", "2"], "are about videos"),
        (["{poses}", "-o", "a.trc", "--model", "mnv2"], "are about videos"),
        (["{photo}", "-o", "a.trc"], "is an image; expected a video or a file of poses"),
        (["{photo}", "-o", "a.trc", "--fps", "3"], "about files of poses"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments: list[str],
    message: str,
    poses: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(poses.parent)
    names = {"poses": poses, "photo": PHOTO}
    assert run_main("motion", *(one.format(**names) for one in arguments)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (poses.parent / "a.trc").exists()


def test_person_who_swings_like_a_pendulum_in_a_video(tmp_path: Path, capsys: Capture) -> None:
    """A photo turned by a known angle in each frame, through detector, pose network and tracker."""
    photo = read_image(PHOTO)
    times_s = np.arange(50) / 25
    turns = 12 * np.sin(2 * np.pi * 0.75 * times_s)
    height, width = photo.shape[:2]
    path = tmp_path / "swing.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (width, height))
    for turn in turns:
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), float(turn), 1.0)
        turned = cv2.warpAffine(photo, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        writer.write(np.ascontiguousarray(turned[:, :, ::-1]))
    writer.release()
    out = tmp_path / "swing.csv"
    assert run_main("motion", path, "-o", out, "--model", "mnv2", "--facing", "right") == 0
    print(capsys.readouterr().out)
    table = pd.read_csv(out)
    true = np.interp(table["time_s"], times_s, turns)
    offsets = table["trunk_deg"].to_numpy() - true
    errors = wrap(offsets - np.nanmedian(offsets))
    print(np.sqrt(np.nanmean(errors**2)))
    assert np.isfinite(errors).mean() > 0.9
    assert np.sqrt(np.nanmean(errors**2)) < 2
