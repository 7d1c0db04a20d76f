"""A process that is forked after models were opened runs them, and ends."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

PROGRAM = """
import os, sys
import numpy as np
import slimpose

threads = int(sys.argv[2]) or None
pipeline = slimpose.load(threads=threads, backend=sys.argv[1])
image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
boxes = np.array([[10, 10, 90, 110]], np.float32)
before = pipeline(image, boxes).points_image
child = os.fork()
if child == 0:
    if sys.argv[3] == "runs":
        assert np.allclose(pipeline(image, boxes).points_image, before, atol=0.01)
    sys.exit(7)
_, status = os.waitpid(child, 0)
print("ended with", os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(
    "backend", ["onnxruntime", *(["openvino"] if find_spec("openvino") else [])]
)
@pytest.mark.parametrize("threads", ["0", "1", "2"])
@pytest.mark.parametrize("use", ["runs", "ends"])
def test_forked_process_ends(backend: str, threads: str, use: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, backend, threads, use],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "ended with 7\n", done.stderr
