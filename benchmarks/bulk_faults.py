"""What ``slimpose bulk`` does when it is killed, when a worker dies, when the disk is full.

    python benchmarks/bulk_faults.py [--kills 20] [--seed 0] [--fault driver worker disk]

An archive of short videos and images with two damaged files is processed while the faults happen;
afterwards the results are compared with those of ``slimpose predict``, record for record. Each
fault is a row of the printed table: the rows of the results, those missing, those there twice. The
synthetic models of the tests are used: what matters here is the bookkeeping.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import mkdtemp

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

import pyarrow.dataset as ds  # noqa: E402

from run_cli import write_dot, write_models, write_walk  # noqa: E402

VIDEOS, FRAMES, IMAGES = 10, 120, 40
PREDICT = "from slimpose.cli.main import main; main()"


def main() -> None:
    """Run all faults and print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--videos", type=int, default=VIDEOS)
    faults = ["driver", "worker", "disk"]
    options.add_argument("--fault", choices=faults, nargs="+", default=faults)
    arguments = options.parse_args()
    folder = Path(mkdtemp(prefix="slimpose-faults-"))
    archive = Archive(folder, videos=arguments.videos)
    print("| fault | expected rows | missing | twice or wrong |\n|---|---|---|---|", flush=True)
    if "driver" in arguments.fault:
        archive.kill_driver(arguments.kills, random.Random(arguments.seed))
    if "worker" in arguments.fault:
        archive.kill_worker()
    if "disk" in arguments.fault:
        archive.fill_disk()
    shutil.rmtree(folder)


class Archive:
    """Inputs, and what ``predict`` finds in them."""

    def __init__(self, folder: Path, *, videos: int) -> None:
        self.folder, self.inputs = folder, folder / "in"
        self.inputs.mkdir()
        self.models = write_models(folder / "models")
        for number in range(videos):
            write_walk(self.inputs / f"v{number}.avi", FRAMES - number, fps=10)
        for number in range(IMAGES):
            write_dot(str(self.inputs / f"i{number}.png"), x=30 + number)
        (self.inputs / "broken.mp4").write_bytes(b"no video" * 999)
        (self.inputs / "empty.jpg").write_bytes(b"")
        predict = [sys.executable, "-c", PREDICT, "predict", str(self.inputs), *self.models]
        csv = folder / "predict.csv"
        subprocess.run([*predict, "--no-draw", "--csv", csv], check=False, capture_output=True)
        self.expected = sorted(_people_of_csv(csv))

    def start(self, out: Path, *, workers: int = 1) -> subprocess.Popen[bytes]:
        """Start ``slimpose bulk``."""
        command = [sys.executable, "-c", PREDICT, "bulk", self.inputs, "--out", out, *self.models]
        command += ["--piece", "1", "--workers", str(workers)]
        return subprocess.Popen(
            [str(one) for one in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def check(self, fault: str, out: Path) -> None:
        """Print a row: what is missing, or there twice or with other values."""
        found = sorted(_people_of_parquet(out))
        missing = len(set(self.expected) - set(found))
        surplus = len(found) - len(set(found) & set(self.expected))
        print(f"| {fault} | {len(self.expected)} | {missing} | {surplus} |", flush=True)

    def kill_driver(self, kills: int, rng: random.Random) -> None:
        """Kill the driver at random moments of its work; then let it end."""
        out, hits, rows = self.folder / "killed", 0, []
        for _ in range(kills):
            process = self.start(out)
            before = _written(out)
            while process.poll() is None and _written(out) == before:
                time.sleep(0.02)
            time.sleep(rng.uniform(0, 1.5))
            hits += process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait()
            found = list(_people_of_parquet(out))
            rows.append(len(found))
            assert len(found) == len(set(found)), "rows are there twice after a kill"
        self.end(out)
        self.check(f"driver killed {hits} times at work (rows then: {rows})", out)

    def kill_worker(self) -> None:
        """Kill a worker three times."""
        out, killed = self.folder / "worker", 0
        process = self.start(out)
        while process.poll() is None and killed < 3:
            before = _written(out)
            while process.poll() is None and _written(out) == before:
                time.sleep(0.02)
            for worker in _workers_of(process.pid):
                os.kill(worker, signal.SIGKILL)
                killed += 1
        process.communicate()
        self.check(f"worker killed {killed} times", out)

    def fill_disk(self) -> None:
        """Let the disk of the output become full; then make room and start again."""
        out = self.folder / "small"
        out.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=200k", "none", out], check=False
        )
        if mounted.returncode:
            print("| full disk | not run here: mounting needs root | | |")
            return
        try:
            process = self.start(out)
            text = process.communicate()[0].decode()
            assert process.returncode == 1, text
            assert "No space left on device" in text, text
            found = list(_people_of_parquet(out))
            assert len(found) == len(set(found))
            subprocess.run(["mount", "-o", "remount,size=50m", out], check=True)
            self.end(out)
            self.check(f"disk full after {len(found)} rows, then larger", out)
        finally:
            subprocess.run(["umount", out], check=True)

    def end(self, out: Path) -> None:
        """Run to the end."""
        process = self.start(out)
        text = process.communicate()[0].decode()
        assert process.returncode == 2, text  # the damaged files
        assert "2 of" in text, text


def _written(out: Path) -> set[str]:
    return {f"{file}{file.stat().st_mtime_ns}" for file in out.glob("poses/*/*.parquet")}


def _workers_of(driver: int) -> list[int]:
    """The processes of a driver's workers."""
    parents, workers = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().split(") ")[1].split()[1])
            if "_RayWorker" in (folder / "cmdline").read_text():
                workers.append(int(folder.name))
        except OSError:
            continue

    def is_of_driver(process: int) -> bool:
        while process in parents:
            if process == driver:
                return True
            process = parents[process]
        return False

    return [worker for worker in workers if is_of_driver(worker)]


def _people_of_parquet(out: Path):
    """Source, frame, id, keypoints and covariances of each row, rounded as in the CSV."""
    files = [str(file) for file in out.glob("poses/*/*.parquet")]
    if not files:
        return
    for row in ds.dataset(files, format="parquet").to_table().to_pylist():
        values = tuple(
            f"{x:.3f} {y:.3f} {score:.4f} {xx:.3f} {yy:.3f} {xy:.3f}"
            for (x, y, score), (xx, yy, xy) in zip(
                row["keypoints"], row["covariances"], strict=True
            )
        )
        track = "" if row["track_id"] is None else str(row["track_id"])
        yield row["source"], str(row["frame"]), f"{row['time_s']:.6f}", track, values


def _people_of_csv(csv: Path):
    import csv as reader
    from itertools import groupby

    names = ("x", "y", "score", "variance_x", "variance_y", "covariance_xy")
    with csv.open(newline="") as file:
        for _, rows in groupby(
            reader.DictReader(file), lambda row: (row["source"], row["frame"], row["person"])
        ):
            people = list(rows)
            values = tuple(" ".join(row[name] for name in names) for row in people)
            first = people[0]
            keys = (first[name] for name in ("source", "frame", "timestamp_s", "track_id"))
            yield (*keys, values)


if __name__ == "__main__":
    main()
