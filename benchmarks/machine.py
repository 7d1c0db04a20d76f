"""Describe the machine, for the JSON line at the end of each benchmark."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from slimpose.runtime.machine import read_machine


def about() -> dict[str, Any]:
    """Return processor, cores, versions and commit; ``-dirty`` marks uncommitted changes."""
    machine, here = read_machine(), Path(__file__).parent
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "cpu": machine.cpu,
        "features": [name for name, has in machine.features.items() if has],
        "cores": machine.cores,
        "threads": machine.threads,
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "onnxruntime": version("onnxruntime"),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "commit": commit.stdout.strip(),
    }
