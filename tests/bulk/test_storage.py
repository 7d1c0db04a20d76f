"""Inputs and outputs of ``slimpose bulk`` on disks and in object stores."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import fsspec
import pytest

from bulk_archive import BROKEN, SOURCES, HereEngine, process_here, rows_of, write_archive
from slimpose.bulk.inputs import find_inputs
from slimpose.bulk.run import BulkRun
from slimpose.bulk.storage import Storage
from slimpose.bulk.table import FileFacts, PeopleRows, write_table
from slimpose.media.addresses import SourceError
from slimpose.skeleton import COCO17


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    fs = fsspec.filesystem("memory")
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def run_all(source: str, settings, out: str) -> BulkRun:
    run = BulkRun(find_inputs(source), settings, out, HereEngine())
    run.process(run.prepare())
    return run


def check_object_store(fs: fsspec.AbstractFileSystem, root: str, tmp_path: Path) -> None:
    """Process an archive from and to an object store; compare with the same on disk."""
    settings = write_archive(tmp_path)
    address = fs.unstrip_protocol(root)
    fs.put(str(tmp_path / "in"), f"{root}/in", recursive=True)
    run = run_all(f"{address}/in", settings, f"{address}/out")
    assert {one.source for one in run.failed} == set(BROKEN)
    process_here(tmp_path, settings, tmp_path / "disk")
    assert rows_of(f"{address}/out") == rows_of(tmp_path / "disk")
    assert {source for source, *_ in rows_of(f"{address}/out")} == set(SOURCES)
    fs.pipe_file(f"{root}/in/i1.png", (tmp_path / "in/i2.png").read_bytes() + b"\0")
    fs.invalidate_cache()
    again = BulkRun(find_inputs(f"{address}/in"), settings, f"{address}/out", HereEngine())
    assert [one.source for one in again.prepare()] == sorted(["i1.png", *BROKEN])


def test_inputs_and_results_in_an_object_store(
    memory: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    check_object_store(memory, "/archive", tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(
    not (find_spec("moto") and find_spec("s3fs")), reason="pip install '.[slow-tests]'"
)
def test_inputs_and_results_in_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server_type = pytest.importorskip("moto.server").ThreadedMotoServer

    server = server_type(port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fs = fsspec.filesystem("s3")
        fs.mkdir("archive")
        check_object_store(fs, "archive", tmp_path)
    finally:
        server.stop()


def test_list_of_files(tmp_path: Path) -> None:
    write_archive(tmp_path)
    manifest = tmp_path / "in" / "files.txt"
    manifest.write_text("# the study\ni1.png\n\ndeep/b.avi\ngone.png\n")
    found = {one.source: one for one in find_inputs(str(manifest))}
    assert list(found) == ["deep/b.avi", "gone.png", "i1.png"]
    assert found["gone.png"].error == "No such file or directory"
    assert found["i1.png"].address == str(tmp_path / "in" / "i1.png")
    assert not found["i1.png"].error


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone", "no such file or folder"),
        ("empty", "no image or video in this folder"),
        ("none.txt", "no file is listed; expected a path per line"),
        ("image.png", "not a list of files"),
        ("memory://nothing", "no image or video among 0 files"),
    ],
)
def test_source_without_inputs_is_rejected(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "none.txt").write_text("# nothing\n")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\xff\xff")
    with pytest.raises(SourceError, match=message):
        find_inputs(source if "://" in source else str(tmp_path / source))


def test_unknown_address_is_rejected() -> None:
    with pytest.raises(ValueError, match="nosuch"):
        find_inputs("nosuch://bucket/folder")


def test_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write("a/b", b"before")

    def stop_half_way() -> None:
        with storage.writing("a/b") as partial:
            partial.write_bytes(b"half")
            assert storage.read("a/b") == b"before"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stop_half_way()
    assert storage.read("a/b") == b"before"
    assert storage.names("") == ["a/b"]
    assert storage.read("a/c") is None
    storage.remove("a/b")
    assert not (tmp_path / "a").exists()


def test_temporary_files_of_killed_runs_are_removed(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    with storage.writing("a") as partial:
        partial.write_bytes(b"a")
        left = partial.with_name("left")
        left.write_bytes(b"half")
    storage.remove_temporary()
    assert not left.exists()
    assert storage.names("") == ["a"]


def test_query_of_a_web_address_is_no_part_of_the_file_name(tmp_path: Path) -> None:
    (tmp_path / "photo.JPG").write_bytes(b"pixels")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        manifest = tmp_path / "files.txt"
        manifest.write_text(f"http://127.0.0.1:{server.server_port}/photo.JPG?token=secret\n")
        (found,) = find_inputs(str(manifest))
        assert found.is_image, "it would be read as a video"
        assert "secret" not in found.source
        with found.local_file() as path:
            assert (path.name, path.read_bytes()) == ("photo.JPG", b"pixels")
        server.shutdown()


_COUNT_THREADS = """
import os, sys
from slimpose.bulk.storage import Storage
from slimpose.bulk.table import read_table
before = len(os.listdir("/proc/self/task"))
rows = len(read_table(Storage(sys.argv[1]), "rows.parquet"))
print(rows, len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_reading_starts_no_thread_that_may_outlive_the_interpreter(tmp_path: Path) -> None:
    rows = PeopleRows(COCO17)
    facts = FileFacts(settings="", skeleton=COCO17.to_json())
    write_table(Storage(str(tmp_path)), "rows.parquet", rows.table(), facts)
    command = [sys.executable, "-c", _COUNT_THREADS, str(tmp_path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["0", "0"]
