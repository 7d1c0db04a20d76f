"""The log of the library: silent unless a program asks for it, without secrets."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import slimpose
from fake_camera import fake_camera
from run_cli import wait_until
from slimpose.media import addresses
from slimpose.media.stream import Stream
from slimpose.media.stream_reader import StreamTimeouts


def test_library_prints_nothing_and_installs_no_handler(tmp_path: Path) -> None:
    program = (
        "import logging, slimpose, numpy as np\n"
        "pipeline = slimpose.load(threads=1)\n"
        "assert pipeline(['none.png'], on_error='none') == [None]\n"
        "log = logging.getLogger('slimpose')\n"
        "print([type(handler).__name__ for handler in log.handlers], log.level, log.propagate)\n"
        "print(logging.getLogger().handlers)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout == "['NullHandler'] 0 True\n[]\n"
    assert done.stderr == ""


def test_opened_models_are_logged(pose: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "slimpose"):
        slimpose.load(pose, None, threads=1)
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.getMessage() == (f"opened synthetic-pose (fp32, 64x48) with onnxruntime: {pose}")


def test_choice_of_the_backend_is_logged(
    pose: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with caplog.at_level(logging.INFO, "slimpose.runtime.auto_backend"):
        slimpose.load(pose, None, threads=1, backend="auto")
    assert f"backend auto for {pose}: " in caplog.text
    assert ", by " in caplog.text


def test_lost_and_found_streams_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    reports: list[str] = []
    timeouts = StreamTimeouts(open_s=2.0, read_s=2.0, first_retry_s=0.05, longest_retry_s=0.1)
    with fake_camera() as camera, caplog.at_level(logging.DEBUG, "slimpose"):
        address = addresses.parse(camera.url.replace("://", "://user:secret@"))
        stream = Stream(
            address,
            camera=0,
            changed=threading.Condition(),
            report=reports.append,
            timeouts=timeouts,
        )
        stream.start()
        wait_until(lambda: stream.status().dropped > 2)
        camera.is_up = False
        wait_until(lambda: bool(reports))
        camera.is_up = True
        wait_until(lambda: any("frames again" in report for report in reports))
        stream.stop()
        assert stream.join(5.0)
    levels = {
        text: record.levelno
        for record in caplog.records
        for text in ("trying again", "frames again", "was dropped", ": live", ": ended; ")
        if text in record.getMessage()
    }
    assert levels == {
        "trying again": logging.WARNING,
        "frames again": logging.INFO,
        "was dropped": logging.DEBUG,
        ": live": logging.INFO,
        ": ended; ": logging.INFO,
    }
    assert "secret" not in caplog.text
    assert {record.name for record in caplog.records} == {"slimpose.media.stream"}


@pytest.mark.parametrize("number", [1, 2])
def test_level_that_a_test_sets_is_restored(number: int) -> None:
    """The tutorials set one, and commands would print more lines in the tests that follow."""
    log = logging.getLogger("slimpose")
    assert log.level == logging.NOTSET, number
    log.setLevel(logging.INFO)
