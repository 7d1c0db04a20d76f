"""Results do not depend on where words go: files are complete whatever the console takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from coco_documents import CocoDocument
from run_cli import start, write_models
from slimpose.arrays import Size
from slimpose.cli.standard_streams import ForgivingStream, forgiving_streams
from synthetic_models import dot_image, write_pose_model

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full device of Linux")


@pytest.fixture
def evaluate(tmp_path: Path, document: CocoDocument) -> list[str]:
    """A command that writes four files; its annotations have a name that cp1252 lacks."""
    images = tmp_path / "images"
    images.mkdir()
    for image in document["images"]:
        size = Size(image["height"], image["width"])
        cv2.imwrite(str(images / image["file_name"]), dot_image(size, 50, 40))
    annotations = tmp_path / "基.json"
    annotations.write_text(json.dumps(document))
    model = write_pose_model(tmp_path / "pose.onnx")
    inputs = ["--annotations", str(annotations), "--images", str(images)]
    outputs = ["--json", "a.json", "--results", "r.json", "--analyze", "page"]
    return ["evaluate", str(model), *inputs, *outputs]


def run(
    arguments: list[str], folder: Path, *, before: str = "", encoding: str = "utf-8", stdout: int
) -> tuple[int, str]:
    program = f"{before}\nfrom slimpose.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        encoding=encoding,
        check=False,
    )
    return done.returncode, done.stderr


def close_reader() -> int:
    read_end, write_end = os.pipe()
    os.close(read_end)
    return write_end


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


CLOSED = "import os, sys; os.close(1); sys.stdout = sys.__stdout__ = None"

CONSOLES = pytest.mark.parametrize(
    ("open_stdout", "before", "encoding", "expected"),
    [
        (close_reader, "", "utf-8", (1, "")),
        (
            full_disk,
            "",
            "utf-8",
            (
                1,
                "slimpose: standard output cannot be written (No space left on device); the files "
                "are complete\n",
            ),
        ),
        (lambda: subprocess.DEVNULL, "", "cp1252", (0, "")),
        (lambda: subprocess.DEVNULL, "", "ascii", (0, "")),
        (lambda: subprocess.DEVNULL, CLOSED, "utf-8", (0, "")),
    ],
    ids=["closed pipe", "full log", "cp1252", "ascii", "no standard output"],
)


@CONSOLES
def test_figures_are_written_whatever_becomes_of_the_words(
    evaluate: list[str],
    tmp_path: Path,
    open_stdout: Callable[[], int],
    before: str,
    encoding: str,
    expected: tuple[int, str],
) -> None:
    assert run(evaluate, tmp_path, before=before, encoding=encoding, stdout=open_stdout()) == (
        expected
    )
    assert "AP" in json.loads((tmp_path / "a.json").read_text())
    assert isinstance(json.loads((tmp_path / "r.json").read_text()), list)
    assert (tmp_path / "page" / "index.html").is_file()


@CONSOLES
def test_poses_are_written_whatever_becomes_of_the_words(
    tmp_path: Path,
    open_stdout: Callable[[], int],
    before: str,
    encoding: str,
    expected: tuple[int, str],
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), dot_image(Size(96, 96), 50, 40))
    models = write_models(tmp_path / "models")
    arguments = ["predict", "a.png", "--json", "ポーズ.json", *models]
    assert run(arguments, tmp_path, before=before, encoding=encoding, stdout=open_stdout()) == (
        expected
    )
    assert len(json.loads((tmp_path / "ポーズ.json").read_text())) == 1
    assert (tmp_path / "out" / "a.png").is_file()


def test_messages_that_cannot_be_written_do_not_end_the_run(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "b.png"), dot_image(Size(96, 96), 50, 40))
    (tmp_path / "a.png").write_text("no image")  # reported first, on a full disk
    arguments = ["predict", "a.png", "b.png", "--json", "p.json"]
    arguments += write_models(tmp_path / "models")
    process = start(*arguments, folder=tmp_path)
    process.communicate()
    expected = (tmp_path / "p.json").read_bytes()
    (tmp_path / "p.json").unlink()
    with Path("/dev/full").open("w") as full:
        program = "from slimpose.cli.main import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=full,
            check=False,
        )
    assert done.returncode == 2
    assert (tmp_path / "p.json").read_bytes() == expected


def test_records_on_a_closed_or_full_standard_output_are_an_error(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), dot_image(Size(96, 96), 50, 40))
    arguments = ["predict", "a.png", "--no-draw", "--jsonl", "-", *write_models(tmp_path / "m")]
    code, message = run(arguments, tmp_path, before=CLOSED, stdout=subprocess.DEVNULL)
    assert code == 1
    assert "--jsonl is -, but standard output is closed; expected a file" in message
    code, message = run(arguments, tmp_path, stdout=full_disk())
    assert code == 1
    assert "cannot write to standard output: No space left on device" in message
    assert "Traceback" not in message


def test_letters_that_a_console_lacks_are_escaped(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding="cp1252") as log:
        assert ForgivingStream(log).write("基 \udcff é") == 5
    assert (tmp_path / "log").read_text(encoding="cp1252") == "\\u57fa \\udcff é"


def test_streams_are_restored() -> None:
    before = sys.stdout, sys.stderr
    with forgiving_streams():
        assert sys.stdout is not before[0]
    assert (sys.stdout, sys.stderr) == before
