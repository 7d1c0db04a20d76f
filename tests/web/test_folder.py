"""The folder of ``export --web``, and the files of onnxruntime-web that it bundles."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from run_main import run_main
from slimpose.cli.export import WebOptions, export
from slimpose.runtime.models import shipped
from slimpose.skeleton import Skeleton
from slimpose.web import browser_runtime
from slimpose.web.browser_runtime import runtime_files
from slimpose.web.folder import PAGE, skeleton_entry, write_folder

NAMES = tuple(browser_runtime._SHA256)


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> bytes:
    """The registry's archive of a small release, whose hashes are the pinned ones."""
    contents = {name: f"// {name}".encode() for name in NAMES}
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as opened:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
    digest = base64.b64encode(hashlib.sha512(written.getvalue()).digest()).decode()
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(browser_runtime, "_INTEGRITY", digest)
    monkeypatch.setattr(browser_runtime, "_SHA256", hashes)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return written.getvalue()


@pytest.fixture
def downloads(archive: bytes, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that were downloaded."""
    found: list[str] = []

    def urlopen(url: str, **_: Any) -> io.BytesIO:
        found.append(url)
        return io.BytesIO(archive)

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return found


def test_runtime_is_downloaded_once(downloads: list[str]) -> None:
    files = runtime_files()
    assert [file.read_text() for file in files.values()] == [f"// {name}" for name in NAMES]
    assert runtime_files() == files
    assert len(downloads) == 1
    assert downloads[0].endswith(f"onnxruntime-web-{browser_runtime.VERSION}.tgz")


def test_damaged_file_in_the_cache_is_downloaded_again(downloads: list[str]) -> None:
    next(iter(runtime_files().values())).write_text("damaged")
    assert next(iter(runtime_files().values())).read_text() == f"// {NAMES[0]}"
    assert len(downloads) == 2


def test_archive_with_another_hash_is_rejected(
    downloads: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(browser_runtime, "_INTEGRITY", "AAAA")
    with pytest.raises(RuntimeError, match=r"SHA-512 .* expected AAAA.*--runtime-dir"):
        runtime_files()
    assert not list((tmp_path / "cache").rglob("*.wasm"))
    assert len(downloads) == 1


def test_unreachable_registry_is_reported(archive: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def urlopen(url: str, **_: Any) -> io.BytesIO:
        raise OSError(f"no route to {url[:8]} with {len(archive)} bytes")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    with pytest.raises(RuntimeError, match=r"cannot be downloaded: no route.*--runtime-dir"):
        runtime_files()


def test_runtime_of_a_folder_is_checked(downloads: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "dist"
    folder.mkdir()
    with pytest.raises(FileNotFoundError, match=r"has no ort\.wasm\.min\.mjs"):
        runtime_files(folder)
    for name in NAMES:
        (folder / name).write_text(f"// {name}")
    assert runtime_files(folder)[NAMES[0]].parent == folder
    (folder / NAMES[2]).write_text("another version")
    with pytest.raises(ValueError, match="SHA-256 differs"):
        runtime_files(folder)
    assert downloads == []


def test_folder_holds_page_models_and_runtime(
    downloads: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "site"
    assert export(web=WebOptions(web=folder)) == 0
    assert "hr, mnv2, detector, onnxruntime-web" in capsys.readouterr().out
    files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    models = {f"models/{name}.onnx" for name in ("hr", "mnv2", "detector")}
    assert files == (
        {file.name for file in PAGE.iterdir()}
        | {f"runtime/{name}" for name in NAMES}
        | models
        | {"models.json"}
    )
    manifest = json.loads((folder / "models.json").read_text())
    assert [entry["name"] for entry in manifest["poses"]] == ["hr", "mnv2"]
    for entry in (*manifest["poses"], manifest["detector"]):
        data = (folder / entry["file"]).read_bytes()
        assert len(data) == entry["bytes"]
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        assert entry["integrity"] == f"sha256-{digest}"
    assert manifest["detector"]["fit"] == "stretch"
    assert len(downloads) == 1


def test_earlier_export_is_replaced_and_its_release_is_another(
    downloads: list[str], tmp_path: Path
) -> None:
    folder, models, runtime = tmp_path / "site", shipped(), runtime_files()
    write_folder(folder, [models["mnv2"]], models["detector"], runtime)
    before = (folder / "service-worker.js").read_text()
    write_folder(folder, [models["hr"]], models["detector"], runtime)
    assert not (folder / "models" / "mnv2.onnx").exists()
    assert (folder / "service-worker.js").read_text() != before
    assert [file.name for file in tmp_path.iterdir() if file.name != "cache"] == ["site"]
    assert len(downloads) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--web", "site", "detector"], r"detector\.onnx is a detect model; expected a pose model"),
        (["--web", "site", "--detector", "hr"], r"hr\.onnx is a pose model; expected a detect"),
        (["--web", "full"], r"--web full has other files \(notes\.txt\)"),
        (["--web", "full/notes.txt"], r"is a file; expected a folder"),
        (["--web", "site", "hr", "--out", "a.onnx"], r"--out is not for --web"),
        (["--web", "site", "--size", "256x192"], r"--size is not for --web"),
        (["--web", "site", "weights.safetensors"], r"no model file weights\.safetensors"),
        (["hr", "--out", "a.xml", "--detector", "hr"], r"--detector is for --web"),
        (["hr", "--out", "a.xml", "--runtime-dir", "."], r"--runtime-dir is for --web"),
        ([], r"missing WEIGHTS; expected WEIGHTS --out FILE, or --web DIR"),
        (["hr"], r"missing --out; expected WEIGHTS --out FILE, or --web DIR"),
    ],
)
def test_wrong_arguments_are_rejected(
    downloads: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    assert run_main("export", *arguments) == 2
    assert re.search(message, capsys.readouterr().err)
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "site").exists()
    assert len(downloads) <= 1


def test_skeleton_that_is_no_person_has_places_for_colors() -> None:
    limbs = (("palm", "thumb"), ("palm", "index"))
    skeleton = Skeleton(
        name="hand", joints=("palm", "thumb", "index"), limbs=limbs, sigmas=(0.05, 0.05, 0.05)
    )
    entry = skeleton_entry(skeleton)
    between, along = entry["color_samples"]
    assert len(between) == len(along) == 256
    assert all(abs(sum(weights) - 1) < 1e-4 for weights in (*between, *along))
