"""The window of ``--show``, on a virtual display."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from run_cli import (
    Capture,
    all_files,
    in_work_folder,
    start,
    wait_until,
    write_dot,
    write_models,
    write_walk,
)
from slimpose.arrays import Size


class Display:
    """A virtual display, whose pixels can be read."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "Xvfb_screen0"
        read_end, write_end = os.pipe()
        self._server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "640x480x24", "-fbdir", folder],
            pass_fds=[write_end],
            stderr=subprocess.DEVNULL,
        )
        os.close(write_end)
        with os.fdopen(read_end) as answer:
            self.name = f":{answer.readline().strip()}"

    def pixels(self) -> np.ndarray:
        """RGB (480, 640, 3)."""
        data = self._file.read_bytes()
        header, colors = int.from_bytes(data[:4], "big"), int.from_bytes(data[76:80], "big")
        rows = np.frombuffer(data, np.uint8, 640 * 480 * 4, header + 12 * colors)
        return rows.reshape(480, 640, 4)[:, :, 2::-1].astype(int)

    def has_colors(self) -> bool:
        """Whether something is drawn: the screen and the images are gray."""
        pixels = self.pixels()
        return bool((pixels.max(axis=2) - pixels.min(axis=2) > 40).any())

    def press(self, key: str) -> None:
        environment = {**os.environ, "DISPLAY": self.name}
        find = ["xdotool", "search", "--sync", "--name", "slimpose"]
        for command in ([*find, "windowfocus", "--sync"], ["xdotool", "key", key]):
            subprocess.run(command, env=environment, check=True, timeout=60)

    def close(self) -> None:
        self._server.terminate()
        self._server.wait()


@pytest.fixture
def display(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Display]:
    if not (shutil.which("Xvfb") and shutil.which("xdotool")):
        pytest.skip("needs Xvfb and xdotool: apt install xvfb xdotool")
    if subprocess.run([sys.executable, "-c", "import tkinter"], check=False).returncode:
        pytest.skip("needs Tk in this Python: apt install python3-tk")
    opened = Display(tmp_path_factory.mktemp("display"))
    yield opened
    opened.close()


def run(display: Display, monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str):
    monkeypatch.setenv("DISPLAY", display.name)
    return start(*arguments, *write_models(folder / "models"), "--show", folder=folder)


def test_image_is_shown_until_a_key_is_pressed(
    display: Display, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_dot(str(tmp_path / "a.png"), 100, 100, size=Size(192, 192))
    process = run(display, monkeypatch, tmp_path, "predict", "a.png", "--draw-boxes")
    wait_until(display.has_colors, process)
    assert process.poll() is None
    display.press("space")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "1 image" in out
    assert (tmp_path / "out" / "a.png").is_file()


def test_q_ends_predict_as_ctrl_c_does(
    display: Display, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_walk(tmp_path / "walk.avi", 3000, size=Size(192, 192))
    process = run(display, monkeypatch, tmp_path, "predict", "walk.avi", "--no-draw", "--json", "p")
    wait_until(display.has_colors, process)
    display.press("q")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "what was written so far is kept" in err
    assert (tmp_path / "p.partial").is_file()


def test_live_shows_the_mosaic_of_several_sources_and_ends_complete(
    display: Display, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_walk(tmp_path / "walk.avi", 50, size=Size(192, 192))
    sources = ["live", "walk.avi", "walk.avi", "--loop", "--json", "p.json"]
    process = run(display, monkeypatch, tmp_path, *sources)
    wait_until(display.has_colors, process)
    # two tiles of 640 pixels, scaled to the screen
    wait_until(lambda: (display.pixels()[:, 350:576] > 100).any(), process)
    display.press("Escape")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert (tmp_path / "p.json").is_file()


def test_without_a_display_nothing_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    pytest.importorskip("tkinter", reason="needs Tk in this Python: apt install python3-tk")
    predict = in_work_folder("predict", tmp_path, monkeypatch)
    monkeypatch.delenv("DISPLAY", raising=False)
    write_dot("a.png")
    assert predict("a.png", "--show") == 1
    err = capsys.readouterr().err
    assert err.startswith("slimpose: --show needs a display, and there is none (")
    assert all_files() == ["a.png"]


def test_python_without_tk_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    predict = in_work_folder("predict", tmp_path, monkeypatch)
    monkeypatch.setitem(sys.modules, "tkinter", None)
    write_dot("a.png")
    assert predict("a.png", "--show") == 1
    assert "--show needs Python's tkinter, which cannot be imported" in capsys.readouterr().err
