"""Throughput of ``slimpose serve``'s POST /poses with one client and with several.

    python benchmarks/serve_requests.py --clients 16 --seconds 6 --rounds 4

Starts the server with the shipped models, without a token, and sends it the sample photos. One
client and all clients alternate; of each the best round counts, since other programs only slow them
down. Latencies are those of all rounds.
"""

from __future__ import annotations

import argparse
import http.client
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"


def start_server(*options: str) -> tuple[subprocess.Popen[str], int]:
    """Return a running server and its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "slimpose", "serve", "--port", "0", *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    found = re.search(r"localhost:(\d+)/", process.stderr.readline())
    assert found is not None
    return process, int(found[1])


def send(port: int, images: Sequence[bytes], clients: int, seconds: float) -> list[float]:
    """Return the latencies (ms) of the requests of several clients, each one at a time."""
    latencies_ms: list[float] = []
    until_s = time.monotonic() + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        index = number
        while time.monotonic() < until_s:
            started_s = time.perf_counter()
            connection.request("POST", "/poses", images[index % len(images)])
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, body
            latencies_ms.append(1e3 * (time.perf_counter() - started_s))
            index += 1
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return latencies_ms


def main() -> None:
    """Print throughput and latencies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    images = [path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))]
    process, port = start_server("--deadline-s", "60")
    try:
        send(port, images, 2, 2.0)
        best = {1: 0.0, options.clients: 0.0}
        latencies_ms: dict[int, list[float]] = {1: [], options.clients: []}
        for _ in range(options.rounds):
            for clients in best:
                started_s = time.monotonic()
                found = send(port, images, clients, options.seconds)
                rate = len(found) / (time.monotonic() - started_s)
                best[clients] = max(best[clients], rate)
                latencies_ms[clients] += found
    finally:
        process.terminate()
        process.wait()
    for clients, rate in best.items():
        percentiles = statistics.quantiles(latencies_ms[clients], n=100, method="inclusive")
        print(
            f"{clients:3d} clients: {rate:5.1f} images/s, latency p50 {percentiles[49]:.0f} "
            f"p95 {percentiles[94]:.0f} p99 {percentiles[98]:.0f} ms"
        )
    print(f"ratio {best[options.clients] / best[1]:.2f}")


if __name__ == "__main__":
    main()
