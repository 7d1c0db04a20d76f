"""INT8 on an x86 processor without VNNI, as Debian's ``qemu-user`` plays it: ``pytest -m slow`` of this file."""

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
from slimpose.runtime.letterbox import letterbox
from slimpose.runtime.session import Session

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
PROGRAM = """
import dataclasses, sys
import numpy as np
from slimpose.runtime import onnx_file
from slimpose.runtime.models import resolve
from slimpose.runtime.session import Session
pictures, answers = sys.argv[1:]
machine = onnx_file.read_machine()  # of the real processor, which qemu's /proc tells of
machine = dataclasses.replace(machine, features={**machine.features, "vnni": False})
onnx_file.read_machine = lambda: machine
np.save(answers, Session(resolve("mnv2-int8"), threads=1).run(np.load(pictures), ("heatmaps",))[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="about x86 processors")
@pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="apt install qemu-user")
def test_int8_gives_the_same_without_vnni(tmp_path: Path) -> None:
    if "mnv2-int8" not in models.shipped():
        pytest.skip("this checkout has no weights")
    session = Session(models.resolve("mnv2-int8"), threads=1)
    pictures = np.stack(
        [
            letterbox(read_image(photo), session.info.size)[0]
            for photo in sorted(PHOTOS.glob("*.jpg"))[:3]
        ]
    )
    np.save(tmp_path / "pictures.npy", pictures)
    program = [sys.executable, "-c", PROGRAM, tmp_path / "pictures.npy", tmp_path / "answers.npy"]
    subprocess.run(["qemu-x86_64", "-cpu", "max", *program], check=True)
    np.testing.assert_allclose(
        np.load(tmp_path / "answers.npy"), session.run(pictures, ("heatmaps",))[0], atol=1e-5
    )
