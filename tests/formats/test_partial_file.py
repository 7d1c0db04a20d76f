from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpose.cli.output_paths import check_output_paths
from slimpose.formats.files import write_bytes
from slimpose.formats.partial_file import PartialFile


def json_file(target: Path) -> PartialFile:
    return PartialFile(target, head=b"[\n", between=b",\n", tail=b"\n]\n")


def test_file_is_complete_after_every_record(tmp_path: Path) -> None:
    file = json_file(tmp_path / "a.json")
    for count in range(5):
        assert json.loads(file.partial.read_bytes()) == list(range(count))
        file.append(json.dumps(count).encode())
    assert [path.name for path in tmp_path.iterdir()] == ["a.partial.json"]
    file.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert json.loads((tmp_path / "a.json").read_bytes()) == [0, 1, 2, 3, 4]


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=30), st.none()), max_size=20))
def test_rolling_back_removes_the_records_after_the_mark(
    tmp_path: Path, steps: list[bytes | None]
) -> None:
    """None sets the mark; at the end everything after the last mark is removed."""
    file = PartialFile(tmp_path / "a.bin", head=b"<", between=b"|", tail=b">")
    kept: list[bytes] = []
    records: list[bytes] = []
    mark = file.position()
    for step in steps:
        if step is None:
            mark, kept = file.position(), [*records]
        else:
            file.append(step)
            records.append(step)
    file.truncate(mark)
    assert file.partial.read_bytes() == b"<" + b"|".join(kept) + b">"
    file.append(b"more")
    assert file.partial.read_bytes() == b"<" + b"|".join([*kept, b"more"]) + b">"
    file.discard()


def test_file_of_a_killed_run_is_not_overwritten(tmp_path: Path) -> None:
    killed = json_file(tmp_path / "a.json")
    killed.append(b"1")
    killed.close()
    again = json_file(tmp_path / "a.json")
    assert again.partial.name == "a.partial-2.json"
    again.finish()
    assert json.loads((tmp_path / "a.partial.json").read_bytes()) == [1]
    assert json.loads((tmp_path / "a.json").read_bytes()) == []


def test_full_disk_leaves_the_earlier_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = json_file(tmp_path / "a.json")
    file.append(b"1")
    write, full = os.write, [True]

    def half_then_full(handle: int, data: bytes) -> int:
        if full and len(data) > 4:
            full.clear()
            return write(handle, data[:2])
        if not full and len(data) > 4:
            raise OSError(28, "No space left on device")
        return write(handle, data)

    monkeypatch.setattr("slimpose.formats.partial_file.os.write", half_then_full)
    with pytest.raises(RuntimeError, match=r"cannot write .*a\.json: No space left on device"):
        file.append(b"12345678901234567890")
    assert json.loads(file.partial.read_bytes()) == [1]


def test_symbolic_link_is_kept_and_its_target_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "true.json").write_text("old")
    for name, target in (("a.json", "true.json"), ("b.json", "new.json")):
        (tmp_path / name).symlink_to(tmp_path / "folder" / target)
        file = json_file(tmp_path / name)
        file.append(b"1")
        file.finish()
        assert (tmp_path / name).is_symlink()
        assert json.loads((tmp_path / "folder" / target).read_bytes()) == [1]
        write_bytes(tmp_path / name, b"2")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "folder" / target).read_bytes() == b"2"
    assert len([*tmp_path.iterdir(), *(tmp_path / "folder").iterdir()]) == 5


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for write in (
        json_file,
        lambda path: write_bytes(path, b"1"),
        lambda path: check_output_paths({"--csv": path}, {}, []),
    ):
        with pytest.raises(
            ValueError, match=r"pipe is a device or a pipe; expected a file to write \(--jsonl - is"
        ):
            write(pipe)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RuntimeError, match=r"cannot write to .*file"):
        PartialFile(tmp_path / "file" / "a.json")


@pytest.mark.parametrize("name", ["x" * 250 + ".json", "a." + "x" * 253, "x" * 255])
def test_files_of_the_longest_names_have_a_partial_name(tmp_path: Path, name: str) -> None:
    file = json_file(tmp_path / name)
    file.append(b"1")
    assert ".partial" in file.partial.name or "~" in file.partial.name
    file.finish()
    assert [path.name for path in tmp_path.iterdir()] == [name]
