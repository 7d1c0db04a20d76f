"""The Containerfile: linted, and its steps run without a container engine."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from slimpose.formats.files import read_toml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "Containerfile"


def instructions() -> list[tuple[str, str]]:
    """Return the instructions and their arguments, continued lines joined."""
    text = FILE.read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def values(name: str) -> list[str]:
    return [argument for instruction, argument in instructions() if instruction == name]


def test_containerfile_is_linted() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, FILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_server_is_not_root_and_ends_on_sigterm() -> None:
    names = [name for name, _ in instructions()]
    assert values("USER") == ["10001"]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert values("STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(values("ENTRYPOINT")[0])[:2] == ["slimpose", "serve"]
    assert not re.search(r"token\s*=", FILE.read_text().replace("SLIMPOSE_TOKEN=...", ""))


def test_all_that_the_package_includes_is_copied() -> None:
    project = read_toml(ROOT / "pyproject.toml", kind="project")
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    folders = [argument.split()[0] for argument in values("COPY")]
    assert len(included) > 3
    for path in included:
        assert any(path == folder or path.startswith(f"{folder}/") for folder in folders), path


def copy_context(target: Path) -> None:
    """Do what COPY does: the files that .containerignore lets through."""
    allowed = [line[1:] for line in (ROOT / ".containerignore").read_text().splitlines()
               if line.startswith("!")]  # fmt: skip
    for argument in values("COPY"):
        *sources, folder = argument.split()
        for source in sources:
            assert any(fnmatch.fnmatch(source, name) for name in allowed), f"{source} is ignored"
            if (ROOT / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, target / folder, ignore=ignored)
            else:
                shutil.copy(ROOT / source, target / folder)


@pytest.mark.slow
def test_steps_of_the_containerfile_run(tmp_path: Path) -> None:
    """In an environment instead of an image, as another user where the tests run as root."""
    build, environment, home = (tmp_path / name for name in ("build", "venv", "home"))
    build.mkdir()
    home.mkdir()
    copy_context(build)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    install, useradd = values("RUN")
    command = install.partition(" && rm ")[0]
    assert command == "pip install '.[serve,mqtt]'"
    path = f"{environment}/bin:{os.environ['PATH']}"
    clean = {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8"}
    subprocess.run(command, shell=True, cwd=build, env=clean, check=True)
    shutil.rmtree(build)
    is_root = os.geteuid() == 0
    if is_root:
        (tmp_path / "etc").mkdir()
        for name in ("passwd", "group", "login.defs", "shadow", "gshadow"):
            (tmp_path / "etc" / name).touch()
        prefix = useradd.replace("useradd", f"useradd --prefix {tmp_path}")
        subprocess.run(prefix, shell=True, check=True)
        assert ":10001:" in (tmp_path / "etc/passwd").read_text()
        for folder in (tmp_path, *tmp_path.parents):
            if folder.is_relative_to(Path("/tmp")) and folder != Path("/tmp"):
                folder.chmod(0o755)
        os.chown(home, 10001, 10001)
    entry = json.loads(values("ENTRYPOINT")[0])
    entry[entry.index("8080")] = "18080"
    entry[0] = f"{environment}/bin/slimpose"
    # A Python below /root can be run by root only.
    may_run = all(folder.stat().st_mode & 1 for folder in Path(sys.base_prefix).resolve().parents)
    options: dict[str, Any] = {"user": 10001, "group": 10001} if is_root and may_run else {}
    process = subprocess.Popen(
        entry,
        cwd=home,
        env={**clean, "SLIMPOSE_TOKEN": "correct-horse-battery"},
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    try:
        check = json.loads(values("HEALTHCHECK")[0].partition("CMD ")[2])
        check = [part.replace("8080", "18080") for part in check]
        deadline_s = time.monotonic() + 60
        while subprocess.run(check, env=clean, stderr=subprocess.DEVNULL, check=False).returncode:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline_s
            time.sleep(0.5)
    finally:
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
