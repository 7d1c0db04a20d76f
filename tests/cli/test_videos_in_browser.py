"""The videos of ``predict`` and ``live`` in Debian's Chromium."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from run_cli import Capture, in_work_folder, start, wait_until, write_models, write_walk
from slimpose.media.video_writer import has_h264

pytestmark = pytest.mark.browser

_PLAY = """
(name) => {
  document.body.innerHTML = "<video muted></video>";
  const video = document.querySelector("video");
  video.src = name;
  video.onloadeddata = () => { video.playbackRate = 8; video.play(); };
}
"""
_HAS_ENDED = "() => ['ended', 'error'].some((it) => document.querySelector('video')[it])"
_RESULT = """
() => {
  const video = document.querySelector("video");
  if (video.error) return { error: video.error.message };
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  const drawing = canvas.getContext("2d");
  drawing.drawImage(video, 0, 0);
  return {
    error: "", duration: video.duration, width: video.videoWidth, height: video.videoHeight,
    frames: video.getVideoPlaybackQuality().totalVideoFrames,
    corner: [...drawing.getImageData(2, 2, 1, 1).data].slice(0, 3),
  };
}
"""


@pytest.fixture(scope="module")
def browser_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, Path]]:
    """A page in a folder; its scripts may read files of that folder."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Chromium: apt install chromium")
    folder = tmp_path_factory.mktemp("page")
    (folder / "page.html").write_text("<!doctype html><body></body>")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--allow-file-access-from-files"]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.goto((folder / "page.html").as_uri())
        yield page, folder
        browser.close()


def play(browser_page: tuple[Page, Path], file: Path) -> dict[str, Any]:
    page, folder = browser_page
    shutil.copy(file, folder / file.name)
    page.evaluate(_PLAY, file.name)
    page.wait_for_function(_HAS_ENDED)
    played = page.evaluate(_RESULT)
    assert played["error"] == ""
    return played


def test_drawn_video_plays(
    browser_page: tuple[Page, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert has_h264()
    predict = in_work_folder("predict", tmp_path, monkeypatch)
    write_walk("walk.avi", 50)
    assert predict("walk.avi") == 0
    played = play(browser_page, Path("out/walk.mp4"))
    assert played["duration"] == pytest.approx(2.0, abs=0.001)
    assert (played["width"], played["height"], played["frames"]) == (96, 96, 50)


def test_drawn_video_of_a_killed_run_plays(browser_page: tuple[Page, Path], tmp_path: Path) -> None:
    options = write_models(tmp_path / "models")
    write_walk(tmp_path / "walk.avi", 5000)
    process = start("predict", "walk.avi", *options, "--jsonl", "p.jsonl", folder=tmp_path)
    lines = tmp_path / "p.partial.jsonl"
    wait_until(lambda: lines.is_file() and lines.read_bytes().count(b"\n") > 60, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    frames = lines.read_bytes().count(b"\n")
    played = play(browser_page, tmp_path / "out" / "walk.partial.mp4")
    assert abs(played["frames"] - frames) <= 3
    assert played["duration"] == pytest.approx(played["frames"] / 25, abs=0.1)


def test_mosaic_plays_and_has_its_colors(
    browser_page: tuple[Page, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = in_work_folder("live", tmp_path, monkeypatch)
    write_walk("walk.avi", 20)
    assert live("walk.avi", "--mosaic", "all.mp4", "--hide", "people") == 0
    played = play(browser_page, Path("all.mp4"))
    assert (played["width"], played["height"]) == (640, 360)
    assert max(played["corner"]) < 40  # the dark background of the name


def test_without_pyav_videos_are_mpeg4_and_a_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    predict = in_work_folder("predict", tmp_path, monkeypatch)
    write_walk("walk.avi", 5)
    assert predict("walk.avi") == 0
    assert "MPEG-4" not in capsys.readouterr().out
    monkeypatch.setattr("slimpose.media.video_writer.has_h264", lambda: False)
    monkeypatch.setattr("slimpose.cli.drawing.has_h264", lambda: False)
    assert predict("walk.avi") == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if "MPEG-4" in line]
    assert len(notes) == 1
    assert "browsers do not play" in notes[0]
    assert "[video]" in notes[0]
    assert predict("walk.avi", "--no-draw", "--json", "p.json") == 0
    assert "MPEG-4" not in capsys.readouterr().out
