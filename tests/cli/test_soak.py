"""Long run of ``live``: ``SLIMPOSE_SOAK_MINUTES=10 pytest -m slow -s tests/cli/test_soak.py``.

It runs 3 minutes by default. ``SLIMPOSE_SOAK_MODELS=shipped`` uses the shipped models instead of
synthetic ones, ``SLIMPOSE_SOAK_VIDEO=clip.avi`` loops another video. The measurements are printed.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from fake_camera import FakeCamera, fake_camera
from process_samples import Sample, sample
from run_cli import csv_rows, frames_in, json_lines, start, wait_until, write_models, write_walk

MINUTES = float(os.environ.get("SLIMPOSE_SOAK_MINUTES", "3"))
WARM_UP_S = min(60.0, 60 * MINUTES / 3)
MAX_GROWTH = 0.05


def interrupt_repeatedly(camera: FakeCamera, ended: threading.Event) -> None:
    """Drop all connections and come back, every few seconds."""
    while not ended.wait(4.0):
        camera.is_up = False
        if ended.wait(2.0):
            break
        camera.is_up = True


@pytest.mark.slow
def test_long_run_leaks_no_memory_threads_or_descriptors(tmp_path: Path) -> None:
    options = write_models(tmp_path / "models")
    if os.environ.get("SLIMPOSE_SOAK_MODELS") == "shipped":
        options = []
    video = os.environ.get("SLIMPOSE_SOAK_VIDEO")
    videos = (
        [video, video]
        if video
        else [write_walk(tmp_path / "a.avi", 300), write_walk(tmp_path / "b.avi", 200)]
    )
    written = ["--jsonl", "p.jsonl", "--csv", "p.csv", "--profile"]
    drawn = ["--out", "videos", "--mosaic", "all.mp4"]
    ended = threading.Event()
    samples: list[Sample] = []
    with fake_camera() as camera:
        threading.Thread(target=interrupt_repeatedly, args=(camera, ended), daemon=True).start()
        process = start(
            "live", *videos, camera.url, "--loop", *options, *written, *drawn, folder=tmp_path
        )
        try:
            lines = tmp_path / "p.partial.jsonl"
            wait_until(lambda: lines.is_file() and lines.stat().st_size > 0, process)
            started_s = time.monotonic()
            while time.monotonic() - started_s < 60 * MINUTES:
                assert process.poll() is None, process.communicate()
                samples.append(sample(process.pid))
                time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            signaled_s = time.monotonic()
            out, err = process.communicate(timeout=60)
            took_s = time.monotonic() - signaled_s
        finally:
            ended.set()
            process.kill()

    warm = [entry for entry in samples if WARM_UP_S - 15 < entry.time_s - started_s <= WARM_UP_S]
    late = samples[-30:]
    first_mb, last_mb = (
        sorted(entry.rss_mb for entry in part)[len(part) // 2] for part in (warm, late)
    )
    threads = [
        max(entry.threads for entry in part) for part in (samples[: len(samples) // 2], late)
    ]
    descriptors = [
        max(entry.descriptors for entry in part) for part in (samples[: len(samples) // 2], late)
    ]
    frames = json_lines((tmp_path / "p.jsonl").read_text())
    print(f"\n{out}\n{err[-400:]}")
    print(f"{len(frames)} frames in {MINUTES:g} min; threads {threads}, descriptors {descriptors}")
    print(f"RSS {first_mb:.1f} -> {last_mb:.1f} MB from {WARM_UP_S:.0f} s on")
    print(f"Ctrl-C took {took_s:.2f} s at load {os.getloadavg()[0]:.1f}")

    assert process.returncode == 0
    assert last_mb < (1 + MAX_GROWTH) * first_mb
    assert threads[1] <= threads[0]
    assert descriptors[1] <= descriptors[0]
    assert took_s < (
        1.0 if os.getloadavg()[0] < (os.cpu_count() or 1) + 1 else 5.0
    )  # a busy machine reacts late
    assert "Traceback" not in err

    # Every frame of the videos once, in order; the camera came back repeatedly; no id is shared.
    assert camera.requests >= MINUTES * 60 / 12
    of_camera: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    for number in (0, 1):
        assert all(
            b - a == 1
            for a, b in pairwise(line["frame"] for line in frames if line["camera"] == number)
        )
    for number in of_camera:
        times_s = [line["timestamp_s"] for line in frames if line["camera"] == number]
        assert all(a < b for a, b in pairwise(times_s))
        assert len(times_s) > 20
    for line in frames:
        ids = [person["track_id"] for person in line["people"]]
        assert len(set(ids)) == len(ids)
        assert all(isinstance(track, int) and track > 0 for track in ids)
        of_camera[line["camera"]].update(ids)
    assert not of_camera[0] & of_camera[1]
    assert not of_camera[1] & of_camera[2]
    people = sum(len(line["people"]) for line in frames)
    assert len(csv_rows(tmp_path / "p.csv")) == 17 * people
    for number in of_camera:
        assert frames_in(tmp_path / "videos" / f"camera-{number}.mp4") == sum(
            line["camera"] == number for line in frames
        )
    assert not list(tmp_path.rglob("*partial*"))
