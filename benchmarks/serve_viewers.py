"""How much viewers of ``slimpose serve`` delay the cameras.

    python benchmarks/serve_viewers.py --seconds 6 --rounds 5

A made camera with two people is processed in this process as by ``serve``, with 0, 1 and 5 viewers
in turn; of the five, one confirms its frames two seconds late. The viewers are another process: on
a computer of their own they would cost less. Of each number the smallest p95 latency counts, since
other programs only slow a round down.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

import slimpose
from fake_camera import FakeCamera, fake_camera
from slimpose.arrays import Size
from slimpose.measure.synthetic_video import make_video, sample_people
from slimpose.runtime.multi_camera import CameraGroup, follow_cameras
from web_server import web_server

VIEWERS = """
import sys, threading, time
from websockets.sync.client import connect
def view(delay_s):
    with connect(f"ws://127.0.0.1:{sys.argv[1]}/api/live", max_size=None) as socket:
        while True:
            if isinstance(socket.recv(), bytes):
                time.sleep(delay_s)
                socket.send('{"ready": 0}')
for number in range(int(sys.argv[2])):
    threading.Thread(target=view, args=(2.0 if number == 4 else 0.0,), daemon=True).start()
time.sleep(1e6)
"""


def main() -> None:
    """Print the p95 latency for each number of viewers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    pipeline = slimpose.load()
    assert pipeline.detector is not None
    people, _ = sample_people(None, pipeline.detector)
    video = make_video(people, 2, size=Size(480, 640))
    state = FakeCamera(frame=lambda number: video.jpegs[number % len(video.jpegs)], fps=10.0)
    best: dict[int, float] = {}
    with (
        fake_camera(state) as camera,
        web_server() as server,
        CameraGroup(camera.url) as cameras,
    ):
        batches = follow_cameras(cameras, slimpose.Follower(pipeline))

        def p95_ms(seconds: float) -> float:
            until_s, latencies_ms = time.monotonic() + seconds, []
            for batch in batches:
                server.shared.frames.publish(batch)
                latencies_ms += [result.latency_ms for result in batch]
                if time.monotonic() > until_s:
                    break
            if len(latencies_ms) < 2:
                return float("inf")
            return statistics.quantiles(latencies_ms, n=20, method="inclusive")[18]

        p95_ms(3.0)
        for _ in range(options.rounds):
            for count in (0, 1, 5):
                program = [sys.executable, "-c", VIEWERS, str(server.port), str(count)]
                viewers = subprocess.Popen(program)
                while server.shared.viewers < count:
                    p95_ms(0.5)
                found = p95_ms(options.seconds)
                best[count] = min(best.get(count, found), found)
                viewers.kill()
                viewers.wait()
                while server.shared.viewers > 0:
                    p95_ms(0.5)
    for count, value in best.items():
        print(f"{count} viewers: p95 {value:.1f} ms, {value / best[0]:.2f} times that without")


if __name__ == "__main__":
    main()
