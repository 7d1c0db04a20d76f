"""How much viewers of ``slimpose serve`` delay the cameras.

    python benchmarks/serve_viewers.py --seconds 6 --rounds 20

A made camera with two people is processed in this process as by ``serve``, with 0, 1 and 5 viewers
in changing order; of the five, one confirms its frames two seconds late. The viewers are another
process: on a computer of their own they would cost less. Other programs slow rounds down, so of
each number the smallest p95 latency is compared, and the ratio to that without viewers of the same
round, of which the median is printed.
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
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--model", default="mnv2")
    options = parser.parse_args()
    pipeline = slimpose.load(options.model)
    assert pipeline.detector is not None
    people, _ = sample_people(None, pipeline.detector)
    video = make_video(people, 2, size=Size(480, 640))
    state = FakeCamera(frame=lambda number: video.jpegs[number % len(video.jpegs)], fps=10.0)
    found: dict[int, list[float]] = {0: [], 1: [], 5: []}
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
        for number in range(options.rounds):
            order = list(found)[number % 3 :] + list(found)[: number % 3]
            for count in order:
                program = [sys.executable, "-c", VIEWERS, str(server.port), str(count)]
                viewers = subprocess.Popen(program)
                while server.shared.viewers < count:
                    p95_ms(0.5)
                found[count].append(p95_ms(options.seconds))
                viewers.kill()
                viewers.wait()
                while server.shared.viewers > 0:
                    p95_ms(0.5)
    for count, values in found.items():
        ratios = [one / without for one, without in zip(values, found[0], strict=True)]
        print(
            f"{count} viewers: p95 {min(values):.1f} ms at best, "
            f"{min(values) / min(found[0]):.2f} times that without; "
            f"median ratio of a round {statistics.median(ratios):.2f}"
        )


if __name__ == "__main__":
    main()
