"""Runs the code blocks of the page bulk: queries always, other engines in the slow tests."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bulk_archive import process_here, write_archive
from run_main import run_main
from slimpose.bulk.ledger import Ledger
from slimpose.bulk.storage import Storage
from slimpose.bulk.units import Outcome

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "bulk.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^<!-- run(?:: (\w+))? -->\n```(console|python)\n(.*?)^```$", re.M | re.S)


def blocks(engine: str) -> list[tuple[str, str]]:
    return [(language, text) for needs, language, text in BLOCK.findall(PAGE) if needs == engine]


def test_queries_and_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = write_archive(tmp_path)
    (tmp_path / "in" / "a.avi").rename(tmp_path / "in" / "clip.avi")
    outcomes = process_here(tmp_path, settings, tmp_path / "results")
    failed = [one for one in outcomes if one.kind == "failed"]
    Ledger.read(Storage(str(tmp_path / "results"))).write(failed)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for language, text in blocks(""):
        if language == "python":
            exec(compile(text, "bulk.md", "exec"), names)
        else:
            command, *arguments = shlex.split(text.removeprefix("$ slimpose "))
            assert run_main(command, *arguments) == 0
    videos = {source for source, track, *_ in names["people"] if track is not None}
    assert videos == {"clip.avi", "deep/b.avi"}
    assert len(names["wrist"]["x"]) > 40
    assert {source for source, *_ in names["busy"]} >= videos
    assert {source for source, _ in names["failed"].fetchall()} == {
        one.source for one in failed if isinstance(one, Outcome)
    }
    assert set(names["one"]["source"].to_pylist()) == {"clip.avi"}
    assert len(names["found"]) == 1
    assert (tmp_path / "clip.csv").read_text().count("clip.avi") > 500


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "dask", "pyspark"])
def test_engines(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not find_spec(engine):
        pytest.skip(f"pip install {engine}")
    if engine == "pyspark" and not shutil.which("java"):
        pytest.skip("Spark needs Java: apt install default-jre-headless")
    photos = ROOT / "examples" / "photos"
    shutil.copytree(photos, tmp_path / "photos", ignore=shutil.ignore_patterns("*.md"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("RAY_worker_niceness", "0")  # as slimpose bulk does
    names: dict[str, Any] = {}
    ((_, text),) = blocks(engine)
    try:
        exec(compile(text, "bulk.md", "exec"), names)
        if engine == "ray":
            import pyarrow.dataset as ds

            count = len(ds.dataset("people", format="parquet").to_table())
        else:
            count = len(names["people"])
    finally:
        if engine == "ray" and "ray" in names:
            names["ray"].shutdown()
    assert count > 5
