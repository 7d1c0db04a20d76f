"""What workers of ``slimpose bulk`` write, without Ray."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from bulk_archive import (
    BROKEN,
    SOURCES,
    HereEngine,
    check_equals_predict,
    process_here,
    rows_of,
    write_archive,
    write_slow_walk,
)
from run_cli import write_dot, write_walk
from slimpose.bulk.inputs import BulkInput, find_inputs
from slimpose.bulk.ledger import Ledger
from slimpose.bulk.read import open_source
from slimpose.bulk.run import BulkRun
from slimpose.bulk.settings import BulkSettings
from slimpose.bulk.storage import OutputError, Storage
from slimpose.bulk.units import Outcome, Unit, pieces_of, units_of, video_name
from slimpose.bulk.worker import UnitWorker


@pytest.fixture
def settings(tmp_path: Path) -> BulkSettings:
    return write_archive(tmp_path)


def prepared(tmp_path: Path, settings: BulkSettings, *, overwrite: bool = False) -> list[str]:
    """Return the sources that the next run would process."""
    run = BulkRun(
        find_inputs(str(tmp_path / "in")),
        settings,
        str(tmp_path / "out"),
        HereEngine(),
        overwrite=overwrite,
    )
    return [one.source for one in run.prepare()]


def test_equals_predict_byte_by_byte(tmp_path: Path, settings: BulkSettings) -> None:
    outcomes = process_here(tmp_path, settings, tmp_path / "out")
    assert {one.source for one in outcomes if one.kind == "done"} == set(SOURCES)
    failed = {one.source: one.reason for one in outcomes if one.kind == "failed"}
    assert set(failed) == set(BROKEN)
    assert failed["empty.jpg"] == "the file is empty (0 bytes)"
    assert len(list((tmp_path / "out/poses").glob("a.avi-*/part-*.parquet"))) == 4
    check_equals_predict(tmp_path, settings, tmp_path / "out")


def test_stopped_after_any_write_goes_on(
    tmp_path: Path, settings: BulkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed stops between two writes: at each of them once."""

    class KilledError(BaseException):
        pass

    settings = dataclasses.replace(settings, piece_s=1.0)
    for name in ("a.avi", "i1.png", "i2.png", *BROKEN):
        (tmp_path / "in" / name).unlink()
    write_walk(tmp_path / "in" / "deep" / "b.avi", 24, fps=10)  # three parts
    whole = tmp_path / "whole"
    process_here(tmp_path, settings, whole)
    write = Storage.writing
    for writes in range(8):  # twice a part and a state, a last part, an image, two starts
        left = writes

        def counting(self: Storage, name: str):
            nonlocal left
            left -= 1
            if left < 0:
                raise KilledError
            return write(self, name)

        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        with monkeypatch.context() as patch:
            patch.setattr(Storage, "writing", counting)
            with pytest.raises(KilledError):
                process_here(tmp_path, settings, out)
        before = rows_of(out)
        assert set(before.values()) <= {1}
        assert before.keys() <= rows_of(whole).keys()
        prepared(tmp_path, settings)
        process_here(tmp_path, settings, out)
        assert rows_of(out) == rows_of(whole)
        for source in ("deep/b.avi", "i0.png"):
            expected, again = (open_source(str(folder), source) for folder in (whole, out))
            assert expected.entry == again.entry
            for one, other in zip(expected.frames(), again.frames(), strict=True):
                assert (one[:2], one[2].to_dict()) == (other[:2], other[2].to_dict())


def test_stopped_run_does_not_start_a_video_again(
    tmp_path: Path, settings: BulkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = [one for one in find_inputs(str(tmp_path / "in")) if one.source == "a.avi"]
    out = str(tmp_path / "out")
    outcomes = UnitWorker(settings, out).process(units_of(inputs, workers=1)[0])
    assert [one.kind for one in islice(outcomes, 2)] == ["part", "part"]
    del outcomes
    frames: list[int] = []
    add = UnitWorker._add_people

    def noted(self: UnitWorker, rows, one, frame, follower) -> None:
        frames.append(frame.index)
        add(self, rows, one, frame, follower)

    monkeypatch.setattr(UnitWorker, "_add_people", noted)
    list(UnitWorker(settings, out).process(units_of(inputs, workers=1)[0]))
    assert frames == list(range(40, 63))


def test_only_new_and_changed_inputs_are_processed(tmp_path: Path, settings: BulkSettings) -> None:
    out, inputs = tmp_path / "out", tmp_path / "in"
    assert prepared(tmp_path, settings) == sorted([*SOURCES, *BROKEN])
    process_here(tmp_path, settings, out)
    assert prepared(tmp_path, settings) == sorted(BROKEN)  # they are tried again
    write_dot(str(inputs / "new.png"))
    write_dot(str(inputs / "i1.png"), x=70)
    write_walk(inputs / "a.avi", 21, fps=10)
    os.utime(inputs / "i2.png", (1, 1))
    changed = ["a.avi", "i1.png", "i2.png", "new.png"]
    before = rows_of(out)
    assert prepared(tmp_path, settings) == sorted([*changed, *BROKEN])
    assert {source for source, *_ in rows_of(out)} == {"deep/b.avi", "i0.png"}
    process_here(tmp_path, settings, out)
    after = rows_of(out)
    assert set(after.values()) == {1}
    assert {source for source, *_ in after} == {*SOURCES, "new.png"}
    assert max(frame for source, frame, _ in after if source == "a.avi") < 21
    kept = {row for row in before if row[0] == "deep/b.avi"}
    assert kept == {row for row in after if row[0] == "deep/b.avi"}


def test_results_of_other_options_are_not_mixed(tmp_path: Path, settings: BulkSettings) -> None:
    prepared(tmp_path, settings)
    process_here(tmp_path, settings, tmp_path / "out")
    other = dataclasses.replace(settings, conf=0.9)
    with pytest.raises(FileExistsError, match=r"other options \(conf None instead of 0\.9\)"):
        prepared(tmp_path, other)
    assert prepared(tmp_path, dataclasses.replace(settings, threads=2)) == sorted(BROKEN)
    Path(settings.model).write_bytes(Path(settings.model).read_bytes() + b"\x00")
    with pytest.raises(FileExistsError, match="model_sha256"):
        prepared(tmp_path, settings)
    assert len(prepared(tmp_path, other, overwrite=True)) == len(SOURCES) + len(BROKEN)
    assert not rows_of(tmp_path / "out")


def test_source_that_two_runs_wrote_is_kept_once(tmp_path: Path, settings: BulkSettings) -> None:
    """A worker that outlives its driver may write a group of images that the next run has too."""
    out = tmp_path / "out"
    process_here(tmp_path, settings, out)
    group = next((out / "poses").glob("images-*"))
    (group.parent / "images-00000000").mkdir()
    copy = group.parent / "images-00000000" / "part-00000.parquet"
    copy.write_bytes((group / "part-00000.parquet").read_bytes())
    assert 2 in rows_of(out).values()
    ledger = Ledger.read(Storage(str(out)))
    ledger.remove_duplicates()
    assert set(rows_of(out).values()) == {1}
    assert {source for source, *_ in rows_of(out)} == set(SOURCES)


def test_full_disk_stops_the_run_and_is_no_fault_of_an_input(
    tmp_path: Path, settings: BulkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    outcomes = process_here(tmp_path, settings, tmp_path / "out")
    stopped = [one for one in outcomes if one.kind == "stopped"]
    assert stopped
    assert "No space left on device" in stopped[0].reason
    assert {one.source for one in outcomes if one.kind == "failed"} == set(BROKEN)
    with pytest.raises(OutputError, match="cannot write x to"):
        Storage(str(tmp_path / "in/i0.png")).write("x", b"")


def test_truncated_video_keeps_its_frames_with_the_reason(
    tmp_path: Path, settings: BulkSettings
) -> None:
    video = tmp_path / "in" / "a.avi"
    video.write_bytes(video.read_bytes()[:-9000])
    outcomes = process_here(tmp_path, settings, tmp_path / "out")
    done = next(one for one in outcomes if one.source == "a.avi" and one.kind == "done")
    assert "those are kept" in done.reason
    assert str(tmp_path) not in done.reason
    entry = open_source(str(tmp_path / "out"), "a.avi").entry
    assert entry.error == done.reason
    assert 20 < entry.frames < 63


def test_frames_per_second_choose_every(tmp_path: Path, settings: BulkSettings) -> None:
    process_here(tmp_path, dataclasses.replace(settings, fps=5.0), tmp_path / "out")
    assert open_source(str(tmp_path / "out"), "a.avi").entry.frames == 32
    process_here(tmp_path, dataclasses.replace(settings, every=2), tmp_path / "every")
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "every")


def test_pieces_at_once_have_one_id_per_person(tmp_path: Path, settings: BulkSettings) -> None:
    """One person walks slowly: whatever the order of the pieces, the id is one."""
    write_slow_walk(tmp_path / "in" / "a.avi", 80)
    settings = dataclasses.replace(settings, detect_every=1)
    at_once = dataclasses.replace(settings, overlap_s=1.5)
    (video,) = (one for one in find_inputs(str(tmp_path / "in")) if one.source == "a.avi")
    out = tmp_path / "out"
    worker = UnitWorker(at_once, str(out))
    (cut,) = worker.process(Unit(kind="video", name=video_name("a.avi"), inputs=[video]))
    assert (cut.kind, cut.pieces) == ("cut", 4)
    for piece in reversed(pieces_of(video, 4)):
        (outcome,) = worker.process(piece)
        assert outcome.kind == "part"
    join = Unit(kind="stitch", name=video_name("a.avi"), inputs=[video], pieces=4)
    (done,) = worker.process(join)
    assert done.kind == "done"
    assert not list((out / "_pieces").rglob("*.parquet"))
    process_here(tmp_path, settings, tmp_path / "whole")
    whole, cut_up = (open_source(str(folder), "a.avi") for folder in (tmp_path / "whole", out))
    assert cut_up.entry.frames == 80
    walks = []
    for found in (whole, cut_up):  # the id of the walker, and where they are in each frame
        people = [
            (int(one.ids[0]), frame, one) for frame, _, all_ in found.frames() for one in all_
        ]
        ((walker, count),) = Counter(track for track, *_ in people).most_common(1)
        assert count > 75  # of 80: it is one id in all pieces
        walks.append({frame: one for track, frame, one in people if track == walker})
    assert walks[0].keys() == walks[1].keys()
    for frame, one in walks[0].items():
        np.testing.assert_allclose(
            one.points_image, walks[1][frame].points_image, atol=1.0, err_msg=str(frame)
        )


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path, settings: BulkSettings) -> None:
    note = tmp_path / "out" / "poses" / "mine.parquet"
    note.parent.mkdir(parents=True)
    note.write_bytes(b"not a Parquet file")
    prepared(tmp_path, settings)
    prepared(tmp_path, dataclasses.replace(settings, every=2), overwrite=True)
    assert note.read_bytes() == b"not a Parquet file"


def test_whole_run_in_pieces(tmp_path: Path, settings: BulkSettings) -> None:
    """The run cuts videos, joins the pieces and writes the tables; a second one does nothing."""
    at_once = dataclasses.replace(settings, overlap_s=1.0)
    outcomes: list[Outcome] = []
    inputs, out = find_inputs(str(tmp_path / "in")), tmp_path / "out"
    missing = BulkInput(source="gone.png", address="gone.png", error="no such file")
    run = BulkRun([*inputs, missing], at_once, str(out), HereEngine(), report=outcomes.append)
    run.process(run.prepare())
    assert {one.source for one in run.failed} == {*BROKEN, "gone.png"}
    assert sorted(one.source for one in outcomes if one.kind == "done") == sorted(SOURCES)
    assert sum(one.frames for one in outcomes) == 63 + 35 + 3
    assert set(rows_of(out).values()) == {1}
    ledger = {row["source"]: row for row in pq.read_table(out / "ledger.parquet").to_pylist()}
    assert {source for source, row in ledger.items() if row["is_done"]} == set(SOURCES)
    assert ledger["a.avi"]["frames"] == 63
    assert ledger["empty.jpg"]["error"] == "the file is empty (0 bytes)"
    failed = (out / "failed.csv").read_text().splitlines()
    assert failed[0] == "source,frames_kept,reason"
    assert "empty.jpg,0,the file is empty (0 bytes)" in failed
    assert [one.source for one in run.prepare()] == sorted(BROKEN)


@pytest.mark.parametrize("killer", ["i1.png", "a.avi"])
def test_input_that_kills_its_worker_is_left_out(
    tmp_path: Path, settings: BulkSettings, killer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    add = UnitWorker._add_people

    def dying(self: UnitWorker, rows, one, frame, follower) -> None:
        if one.source == killer:
            raise KilledError
        add(self, rows, one, frame, follower)

    monkeypatch.setattr(UnitWorker, "_add_people", dying)
    (unit,) = (
        one
        for one in units_of(find_inputs(str(tmp_path / "in")), workers=1)
        if killer in [each.source for each in one.inputs]
    )
    unit = dataclasses.replace(unit, inputs=[*unit.inputs, *_others(tmp_path, unit)])
    out = str(tmp_path / "out")
    for _ in range(3):
        with pytest.raises(KilledError):
            list(UnitWorker(settings, out).process(unit))
    outcomes = list(UnitWorker(settings, out).process(unit))
    assert (outcomes[0].source, outcomes[0].kind) == (killer, "failed")
    assert "its worker died twice" in outcomes[0].reason
    assert [one.kind for one in outcomes[1:]] == ["done"] * (len(unit.inputs) - 1)
    assert Storage(out).names("_attempts") == []


def test_worker_that_dies_at_other_places_goes_on(
    tmp_path: Path, settings: BulkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Machines that are taken away, for example: each time a part of the video was done."""

    class KilledError(BaseException):
        pass

    add, places = UnitWorker._add_people, {5, 15, 25, 35, 45}

    def dying(self: UnitWorker, rows, one, frame, follower) -> None:
        if frame.index in places:
            places.remove(frame.index)
            raise KilledError
        add(self, rows, one, frame, follower)

    settings = dataclasses.replace(settings, piece_s=1.0)
    monkeypatch.setattr(UnitWorker, "_add_people", dying)
    unit = next(
        one
        for one in units_of(find_inputs(str(tmp_path / "in")), workers=1)
        if one.inputs[0].source == "a.avi"
    )
    out = str(tmp_path / "out")
    for _ in range(5):
        with pytest.raises(KilledError):
            list(UnitWorker(settings, out).process(unit))
    outcomes = list(UnitWorker(settings, out).process(unit))
    assert outcomes[-1].kind == "done"
    assert open_source(out, "a.avi").entry.frames == 63


def _others(tmp_path: Path, unit: Unit) -> list[BulkInput]:
    """Two more images for a group of images."""
    if unit.kind == "video":
        return []
    images = [
        one for one in find_inputs(str(tmp_path / "in")) if one.source in ("i0.png", "i2.png")
    ]
    return [one for one in images if one not in unit.inputs]
