"""Nothing is sent, and nothing is written but outputs and our own cache folder.

The first tests check what is left; the last, with strace (apt install strace), the system
calls of whole commands.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest

from coco_documents import CocoDocument
from run_cli import write_models, write_walk
from slimpose.arrays import Size
from synthetic_models import dot_image

MAIN = "from slimpose.cli.main import main; main()"
OPENVINO = ("openvino",) if find_spec("openvino") else ()
BACKENDS = ("onnxruntime", *OPENVINO)


def environment(home: Path) -> dict[str, str]:
    """An account that has never run anything, and that asks for ONNX Runtime's telemetry."""
    for name in ("home", "cache", "tmp"):
        (home / name).mkdir(exist_ok=True)
    changes = {
        "HOME": str(home / "home"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "TMPDIR": str(home / "tmp"),
        "ORT_DISABLE_TELEMETRY": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    unset = ("ORT_TELEMETRY_DISABLED", "CI", "TF_BUILD", "MPLCONFIGDIR")
    return {**{key: value for key, value in os.environ.items() if key not in unset}, **changes}


def run(home: Path, *command: str, before: tuple[str, ...] = ()) -> None:
    done = subprocess.run(
        [*before, sys.executable, "-c", *command],
        cwd=home,
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def files(home: Path) -> list[str]:
    folders = (home / name for name in ("home", "cache", "tmp"))
    return [str(path.relative_to(home)) for folder in folders for path in folder.rglob("*")]


@pytest.mark.parametrize("backend", BACKENDS)
def test_library_writes_nothing(tmp_path: Path, backend: str) -> None:
    program = "import numpy as np, slimpose; "
    program += f"slimpose.load(backend={backend!r})(np.zeros((64, 64, 3), np.uint8))"
    run(tmp_path, program)
    assert files(tmp_path) == []


def test_telemetry_that_a_program_started_before_is_reported() -> None:
    def warnings_of(program: str, **variables: str) -> str:
        code = "import sys, types; m = types.ModuleType('onnxruntime'); m.__version__ = '1.32.0'; "
        done = subprocess.run(
            [sys.executable, "-c", code + program],
            env={**environment_without_switch(), **variables},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stderr

    early = "sys.modules['onnxruntime'] = m; import slimpose"
    assert "import slimpose first, or set ORT_DISABLE_TELEMETRY=1" in warnings_of(early)
    assert warnings_of(early, ORT_DISABLE_TELEMETRY="1") == ""
    assert warnings_of("import slimpose") == ""
    assert (
        warnings_of(early.replace("import slimpose", "m.__version__ = '1.18.0'; import slimpose"))
        == ""
    )


def environment_without_switch() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("ORT_")}


_WRITES = re.compile(
    r'(?:(?:openat|open)\((?:AT_FDCWD, )?"(?P<opened>[^"]+)", [A-Z_|]*(?:O_WRONLY|O_RDWR|O_CREAT)|'
    r'(?:mkdir|mkdirat|creat|symlinkat?|linkat?|renameat2?|rename|mknodat?)\(.*"(?P<made>[^"]+)")'
)
_DEVICES = ("/dev/null", "/dev/tty", "/dev/shm/", "/proc/self/")


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace: apt install strace")
@pytest.mark.parametrize("command", ["predict", "live", "benchmark", "evaluate", "doctor"])
def test_commands_open_no_socket_and_write_only_outputs_and_our_cache(
    tmp_path: Path, document: CocoDocument, command: str
) -> None:
    models = write_models(tmp_path / "models")
    write_walk(tmp_path / "walk.avi", 4)
    images = tmp_path / "images"
    images.mkdir()
    for image in document["images"]:
        size = Size(image["height"], image["width"])
        cv2.imwrite(str(images / image["file_name"]), dot_image(size, 50, 40))
    (tmp_path / "people.json").write_text(json.dumps(document))
    pose = models[1]
    backend = ["--backend", "auto"]
    quick = ["--quick", "--people", "1", "--threads", "1", *models[:4]]
    truth = ["--annotations", "people.json", "--images", "images"]
    arguments = {
        "predict": ["walk.avi", "images", "--json", "out/p.json", *models, *backend],
        "live": ["walk.avi", "--out", "out", "--mosaic", "out/m.mp4", *models, *backend],
        "benchmark": quick,
        "evaluate": [pose, *truth, "--json", "out/e.json", "--analyze", "out/page", *backend],
        "doctor": ["--model", pose],
    }[command]
    log = tmp_path / "calls"
    calls = "network,open,openat,creat,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2"
    calls += ",link,linkat,symlink,symlinkat"
    strace = (
        "strace",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-s",
        "4096",
        "-o",
        str(log),
        "-e",
        f"trace={calls}",
    )
    run(tmp_path, MAIN, command, *arguments, before=strace)
    text = log.read_text(errors="replace")
    assert not re.findall(r".*(?:connect|sendto|sendmsg|sendmmsg)\(.*sa_family.*", text)
    assert not re.findall(r".*socket\((?:AF_INET|AF_INET6|AF_NETLINK).*", text)
    written = {
        match["opened"] or match["made"]
        for line in text.splitlines()
        if " = -1 " not in line and (match := _WRITES.search(line))
    }
    allowed = tuple(f"{tmp_path}/{name}" for name in ("out", "cache/slimpose", "tmp/"))
    strange = [
        name
        for name in written
        if not str(tmp_path / name).startswith(allowed) and not name.startswith(_DEVICES)
    ]
    assert strange == []
    assert all(name.startswith("cache/slimpose") for name in files(tmp_path))
