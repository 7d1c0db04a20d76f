"""Temporary folders: abandoned ones are removed, those in use are not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from slimpose.formats import temporary_folder as module
from slimpose.formats.files import fitting_name, write_bytes
from slimpose.formats.temporary_folder import PREFIX, temporary_folder

_HANG = """
import sys, time
from pathlib import Path
from slimpose.formats.temporary_folder import temporary_folder
with temporary_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half a file")
    print("ready", flush=True)
    time.sleep(60)
"""


def start_writer(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HANG, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="no locks and no SIGKILL")
def test_next_run_removes_what_a_kill_left_and_nothing_else(tmp_path: Path) -> None:
    killed, alive = start_writer(tmp_path), start_writer(tmp_path)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(list(tmp_path.glob(f"{PREFIX}*"))) == 2
    (tmp_path / ".tmpfile").write_text("the user's")
    (tmp_path / ".a.x1.json").write_text("the user's")
    module._swept.discard(tmp_path)
    write_bytes(tmp_path / "a.json", b"{}")
    (left,) = tmp_path.glob(f"{PREFIX}*")
    assert (left / "half").read_text() == "half a file"
    alive.send_signal(signal.SIGKILL)
    alive.wait()
    module._swept.discard(tmp_path)
    write_bytes(tmp_path / "b.json", b"{}")
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        ".a.x1.json",
        ".tmpfile",
        "a.json",
        "b.json",
    ]


def test_without_locks_only_old_folders_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "fcntl", None)
    old, new = tmp_path / f"{PREFIX}old", tmp_path / f"{PREFIX}new"
    old.mkdir()
    new.mkdir()
    os.utime(old, (0, 0))
    with temporary_folder(tmp_path) as folder:
        assert sorted(tmp_path.iterdir()) == sorted([new, folder])
    assert list(tmp_path.iterdir()) == [new]


@pytest.mark.parametrize(
    "name",
    [
        "x" * 251 + ".jpg",
        "é" * 125 + ".json",  # 250 bytes, and its suffix
        "x" * 255,
        "." + "x" * 254,
        "a." + "x" * 253,  # all of it is a suffix
    ],
)
def test_files_of_the_longest_names_are_written(tmp_path: Path, name: str) -> None:
    write_bytes(tmp_path / name, b"1")
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_long_stems_are_cut_at_a_letter_and_stay_different() -> None:
    endings = (".partial.json", "_000000000012_keypoints.json", ".pose-2.jpg", "." + "s" * 200)
    for ending in endings:
        names = {
            fitting_name("é" * 120 + last, ending) for last in ("aaaaaaaaaaaa", "aaaaaaaaaaab")
        }
        assert len(names) == 2
        assert all(len(name.encode()) <= 255 for name in names)
    assert fitting_name("clip", ".pose.jpg") == "clip.pose.jpg"
