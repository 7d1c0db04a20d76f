"""INT8 on an x86 processor without VNNI, emulated by ``qemu-user`` (``pytest -m slow``)."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from slimpose.media.images import read_image
from slimpose.runtime import models
from slimpose.runtime.crops import fit_canvas
from slimpose.runtime.session import Session

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
PROGRAM = """
import dataclasses, sys
import numpy as np
from slimpose.runtime import onnx_file
from slimpose.runtime.models import resolve
from slimpose.runtime.session import Session
batch, outputs = sys.argv[1:]
machine = onnx_file.read_machine()  # the real processor's, which qemu shows in /proc
machine = dataclasses.replace(machine, features={**machine.features, "vnni": False})
onnx_file.read_machine = lambda: machine
np.save(outputs, Session(resolve("mnv2-int8"), threads=1).run(np.load(batch), ("heatmaps",))[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="about x86 processors")
@pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="apt install qemu-user")
def test_int8_has_the_same_results_without_vnni(tmp_path: Path) -> None:
    if "mnv2-int8" not in models.shipped():
        pytest.skip("this checkout has no weights")
    session = Session(models.resolve("mnv2-int8"), threads=1)
    size = session.info.size
    photos = sorted(PHOTOS.glob("*.jpg"))[:3]
    batch = np.stack([fit_canvas(read_image(photo), size)[0] for photo in photos])
    np.save(tmp_path / "batch.npy", batch)
    program = [sys.executable, "-c", PROGRAM, tmp_path / "batch.npy", tmp_path / "outputs.npy"]
    subprocess.run(["qemu-x86_64", "-cpu", "max", *program], check=True)
    np.testing.assert_allclose(
        np.load(tmp_path / "outputs.npy"), session.run(batch, ("heatmaps",))[0], atol=1e-5
    )
