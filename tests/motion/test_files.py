"""Files: what other programs read of what is written, and what is read of what predict writes."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import ezc3d
import numpy as np
import pandas as pd
import pytest
from trc import TRCData

from moving_person import HEIGHT_M, PX_PER_METER, collect, poses_over_time, walk, write_csv
from slimpose.formats import results
from slimpose.motion import (
    Angles,
    CleanMotion,
    CleanSettings,
    Scale,
    clean,
    compute_angles,
    read_motions,
    select,
    write_motion,
)
from slimpose.runtime.foreign.skeletons import HALPE26
from slimpose.skeleton import COCO17

TIMES_S = 5 + np.arange(60) / 30
WALKER = walk(TIMES_S - 5)
POSES = poses_over_time(WALKER, COCO17)


@pytest.fixture
def cleaned() -> CleanMotion:
    """A walker whose left wrist is missing for half a second."""
    motion = collect(POSES, TIMES_S)
    motion.scores[20:35, COCO17.joints.index("left_wrist")] = 0
    return clean(motion, CleanSettings(filter="none"))


def written(path: Path, cleaned: CleanMotion, scale: Scale) -> Angles:
    angles = compute_angles(cleaned.joints, scale.points(cleaned))
    write_motion(path, cleaned, scale=scale, angles=angles)
    return angles


def test_trc_is_read_by_another_package(tmp_path: Path, cleaned: CleanMotion) -> None:
    """OpenSim 4.6 (PyPI) read such files too, with equal markers and its nan (by hand)."""
    scale = Scale(px_per_meter=PX_PER_METER)
    written(tmp_path / "walk.trc", cleaned, scale)
    data = TRCData()
    data.load(str(tmp_path / "walk.trc"))
    assert (data["NumFrames"], data["NumMarkers"], data["Units"]) == (60, 17, "m")
    assert (data["DataRate"], data["CameraRate"]) == (30, 30)
    assert data["Markers"] == list(COCO17.joints)
    assert data["Frame#"] == list(range(1, 61))
    assert data["Time"] == pytest.approx(TIMES_S, abs=1e-6)
    points = scale.points(cleaned)
    for joint, name in enumerate(COCO17.joints):
        xyz = np.array(data[name], float)
        assert np.allclose(xyz[:, :2], points[:, joint], atol=1e-6, equal_nan=True), name
        assert np.nanmax(np.abs(xyz[:, 2])) == 0
    assert np.isnan(np.array(data["left_wrist"], float)).all(axis=1).sum() == 15


def test_c3d_is_read_by_ezc3d(tmp_path: Path, cleaned: CleanMotion) -> None:
    scale = Scale(px_per_meter=PX_PER_METER)
    written(tmp_path / "walk.c3d", cleaned, scale)
    c3d = ezc3d.c3d(str(tmp_path / "walk.c3d"))
    point = c3d["parameters"]["POINT"]
    assert point["LABELS"]["value"] == list(COCO17.joints)
    assert (point["UNITS"]["value"], point["RATE"]["value"][0]) == (["m"], 30)
    read = c3d["data"]["points"]
    assert read.shape == (4, 17, 60)
    points = scale.points(cleaned).transpose(2, 1, 0)
    assert np.allclose(read[:2], points, atol=1e-6, equal_nan=True)
    assert np.nanmax(np.abs(read[2])) == 0
    assert np.isnan(read[0]).sum() == 15


def test_mot_and_csv_have_the_angles(tmp_path: Path, cleaned: CleanMotion) -> None:
    angles = written(tmp_path / "walk.mot", cleaned, Scale())
    head, _, table = (tmp_path / "walk.mot").read_text().partition("endheader\n")
    assert f"nRows=60\nnColumns={len(angles.degrees) + 1}\ninDegrees=yes" in head
    (tmp_path / "table.tsv").write_text(table)
    mot = pd.read_csv(tmp_path / "table.tsv", sep="\t")
    written(tmp_path / "walk.csv", cleaned, Scale())
    both = pd.read_csv(tmp_path / "walk.csv")
    assert np.allclose(mot["time"], TIMES_S)
    assert np.allclose(both["time_s"], TIMES_S)
    for name, values in angles.degrees.items():
        assert np.allclose(mot[name], values, atol=1e-5, equal_nan=True), name
        assert np.allclose(both[f"{name}_deg"], values, atol=1e-5, equal_nan=True), name
    points = Scale().points(cleaned)
    assert np.allclose(both["nose_x_px"], points[:, 0, 0], atol=1e-5)
    assert both["left_wrist_x_px"].isna().sum() == 15


def test_white_space_in_names_is_replaced(tmp_path: Path) -> None:
    motion = collect(POSES, TIMES_S)
    names = ("linkes Auge", *COCO17.joints[1:])
    written(tmp_path / "walk.trc", clean(dataclasses.replace(motion, joints=names)), Scale())
    data = TRCData()
    data.load(str(tmp_path / "walk.trc"))
    assert data["Markers"][0] == "linkes_Auge"


def test_what_a_file_cannot_hold_is_rejected(tmp_path: Path, cleaned: CleanMotion) -> None:
    angles = Angles(
        degrees={}, missing={"trunk": "hip"}, facing_left=np.zeros(60), is_facing_known=True
    )
    with pytest.raises(ValueError, match="has no angles: its skeleton lacks hip; expected the"):
        write_motion(tmp_path / "a.mot", cleaned, scale=Scale(), angles=angles)
    with pytest.raises(ValueError, match=r"a.bvh is of another kind; expected one of .trc"):
        write_motion(tmp_path / "a.bvh", cleaned, scale=Scale(), angles=angles)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["walk.trc", "walk.mot", "walk.csv", "walk.c3d"])
def test_file_that_the_disk_has_no_room_for_is_not_written(
    tmp_path: Path, cleaned: CleanMotion, name: str
) -> None:
    resource = pytest.importorskip("resource", reason="files are limited on Unix only")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(ValueError, match=rf"cannot write .*{name}: "):
            written(tmp_path / name, cleaned, Scale(px_per_meter=PX_PER_METER))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / name).exists()


def test_scale_from_a_persons_height() -> None:
    cleaned = clean(collect(POSES, TIMES_S))
    scale = Scale.from_height(cleaned, HEIGHT_M)
    assert scale.px_per_meter == pytest.approx(PX_PER_METER, rel=0.01)
    points = scale.points(cleaned)
    assert points[..., 1].min() == 0  # the floor
    ear = COCO17.joints.index("left_ear")  # 0.14 m over the shoulders; ankles are the lowest
    assert points[:, ear, 1].mean() == pytest.approx(1.49, abs=0.05)
    with pytest.raises(ValueError, match="height is 175 m; expected"):
        Scale.from_height(cleaned, 175.0)
    with pytest.raises(ValueError, match="px_per_meter is 0; expected"):
        Scale(px_per_meter=0.0)
    with pytest.raises(ValueError, match="floor_angle_deg is 90"):
        Scale(floor_angle_deg=90.0)


def test_floor_angle_turns_points_and_segment_angles() -> None:
    angle = np.radians(7)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    motion = collect(POSES, TIMES_S)  # image y is down, so the floor rises to the right
    tilted = dataclasses.replace(motion, points_image=motion.points_image @ turn)
    scale = Scale(floor_angle_deg=7.0)
    found = compute_angles(COCO17.joints, scale.points(clean(tilted)))
    assert np.abs(found.degrees["trunk"] - WALKER.degrees["trunk"])[3:-3].max() < 0.2
    without = compute_angles(COCO17.joints, Scale().points(clean(tilted)))
    assert np.median(without.degrees["trunk"] - WALKER.degrees["trunk"]) == pytest.approx(
        7, abs=0.1
    )


def test_csv_of_predict_is_read_completely(tmp_path: Path) -> None:
    (motion,) = read_motions(write_csv(tmp_path / "poses.csv", POSES, TIMES_S))
    true = collect(POSES, TIMES_S)
    assert (motion.source, motion.track_id, motion.joints) == ("a.mp4", 1, COCO17.joints)
    assert np.allclose(motion.times_s, true.times_s, atol=1e-6)
    assert np.allclose(motion.points_image, true.points_image, atol=1e-3)
    assert np.allclose(motion.scores, true.scores, atol=1e-4)
    assert np.allclose(motion.covariances_image, true.covariances_image, atol=1e-3)


def test_json_files_of_predict_are_read_completely(tmp_path: Path) -> None:
    poses = poses_over_time(WALKER, HALPE26)
    records = [
        record
        for frame, one in enumerate(poses)
        for record in results.records(one, file_name="a.mp4", frame=frame)
    ]
    (tmp_path / "poses.json").write_text(json.dumps(records))
    lines = [
        results.json_line(one, source="a.mp4", camera=0, frame=frame, timestamp_s=float(time_s))
        for frame, (one, time_s) in enumerate(zip(poses, TIMES_S, strict=True))
    ]
    (tmp_path / "poses.jsonl").write_bytes(b"".join(lines))
    true = collect(poses, TIMES_S)
    for name, start_s in (("poses.json", 0), ("poses.jsonl", 5)):
        (motion,) = read_motions(tmp_path / name, skeleton=HALPE26, fps=30.0)
        assert motion.joints == HALPE26.joints
        assert np.allclose(motion.times_s, TIMES_S - 5 + start_s, atol=1e-6)
        assert np.allclose(motion.points_image, true.points_image, atol=1e-3)
        assert np.allclose(motion.scores, true.scores, atol=1e-3)


def test_parquet_rows_of_people_are_read(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    poses = poses_over_time(WALKER, HALPE26)
    rows = [
        {
            "source": "a.mp4",
            "frame": frame,
            "time_s": float(time_s),
            "track_id": 1,
            "keypoints": np.dstack([one.points_image, one.scores])[0].tolist(),
            "covariances": one.covariances_image[0].reshape(-1, 4)[:, [0, 3, 1]].tolist(),
        }
        for frame, (one, time_s) in enumerate(zip(poses, TIMES_S, strict=True))
    ]
    footer = {b"slimpose": json.dumps({"skeleton": HALPE26.to_json()}).encode()}
    table = pyarrow.Table.from_pylist(rows[::-1]).replace_schema_metadata(footer)
    parquet.write_table(table, tmp_path / "poses.parquet")
    (motion,) = read_motions(tmp_path / "poses.parquet")
    assert motion.joints == HALPE26.joints
    true = collect(poses, TIMES_S)
    assert np.allclose(motion.points_image, true.points_image, atol=1e-3)
    assert np.allclose(motion.covariances_image, true.covariances_image)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match=r"bad.parquet is not Parquet"):
        read_motions(tmp_path / "bad.parquet")
    parquet.write_table(pyarrow.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="has no column 'source'; expected those of slimpose bulk"):
        read_motions(tmp_path / "other.parquet")


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def changed(row: int, column: int, text: str) -> Any:
    def change(rows: list[list[str]]) -> None:
        rows[row][column] = text

    return change


def coco(frame: int, value: float = 1.0) -> bytes:
    return json.dumps([{"file_name": "a", "frame": frame, "keypoints": [value] * 51}]).encode()


CSV_FAULTS = [
    (lambda rows: rows.clear(), "has no column 'source'; expected the header of slimpose predict"),
    (changed(0, 7, "x_px"), "has no column 'x'"),
    (lambda rows: rows.__delitem__(slice(1, None)), "has no people; expected at least one"),
    (changed(5, 7, "nan"), "line 6: x is nan; expected a finite number"),
    (changed(5, 7, "left"), "line 6: x is 'left'; expected a finite number"),
    (changed(5, 7, ""), "line 6: x is ''; expected a finite number"),
    (changed(5, 8, "1e30"), "line 6: y is 1e\\+30"),
    (changed(5, 9, "-1"), "line 6: score is -1"),
    (changed(5, 10, "-4"), "line 6: variance_x is -4"),
    (changed(5, 6, "nose"), "keypoints"),
    (changed(6, 6, "left_ear"), "line 6: keypoint 'left_ear' occurs twice|line 7: keypoint"),
    (changed(3, 5, "one"), "line"),
    (lambda rows: rows.pop(), "a person has the keypoints .*; expected .*truncated"),
    (lambda rows: rows[-1].pop(), "has 12 cells; expected 13"),
    (lambda rows: rows.extend(rows[1:18]), "the time 5 s of a.mp4 follows 6.9"),
    (lambda rows: rows.extend([[*row[:2], "60", "9", *row[4:]] for row in rows[1:18]] * 2),
     "two people with the id 1; expected one"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), CSV_FAULTS)
def test_faults_of_csv_are_reported(tmp_path: Path, change: Any, message: str) -> None:
    path = write_csv(tmp_path / "poses.csv", POSES, TIMES_S)
    rows = rows_of(path)
    change(rows)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(ValueError, match=message) as raised:
        read_motions(path)
    assert "\n" not in str(raised.value)
    assert "poses.csv" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"\xff\xfe\x00", "is not CSV: byte 0 is 0xff; expected UTF-8"),
        ("a.csv", b"\x00", "a.csv has no column 'source'|a.csv is not CSV"),
        ("a.json", b"{", "is not JSON"),
        ("a.json", b"{}", "a.json is {}; expected a list of results, as slimpose predict --json"),
        ("a.json", b"[]", "has no people"),
        ("a.json", b"[1]", "result 0 is 1; expected an object"),
        ("a.json", b'[{"file_name": "a"}]', "result 0 has no frame"),
        ("a.json", b'[{"file_name": "a", "frame": 0, "keypoints": [1]}]',
         r"has 1 numbers; expected 51: x, y, score of the 17 keypoints of coco17"),
        ("a.json", coco(0, float("nan")),
         "keypoints is .*; expected 51 finite numbers"),
        ("a.json", coco(0, -1.0),
         "a score of 0 or more"),
        ("a.json", b"[" + coco(0)[1:-1] + b"," + coco(0)[1:],
         "two people without ids; expected ids"),
        ("a.json", b"[" + coco(1)[1:-1] + b"," + coco(0)[1:],
         "result 1: the time 0 s of a follows"),
        ("a.jsonl", b'{"source": "a"', "line 1 is not JSON"),
        ("a.jsonl", b'{"source": "a", "timestamp_s": "x", "people": []}', "timestamp_s is 'x'"),
        ("a.jsonl", b"\xff\n", "line 1 is not JSON"),
        ("a.txt", b"", "a.txt is of another kind; expected one of .csv"),
    ],
)  # fmt: skip
def test_files_of_another_kind_are_reported(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        read_motions(tmp_path / name, fps=30.0)
    assert "\n" not in str(raised.value)


def test_missing_files_folders_and_rates_are_reported(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file of people"):
        read_motions(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder; expected a file"):
        read_motions(tmp_path / "folder.csv")
    (tmp_path / "a.json").write_text("[]")
    for fps, got in ((None, "not given"), (0.0, "0"), (float("inf"), "inf")):
        with pytest.raises(ValueError, match=f"a.json is {got}: COCO results have no times"):
            read_motions(tmp_path / "a.json", fps=fps)


def test_people_and_sources_are_selected(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", POSES, TIMES_S)
    short = write_csv(tmp_path / "b.csv", POSES[:3], TIMES_S[:3], source="b.mp4")
    other = [line.replace("a.mp4,0,", "b.mp4,0,") for line in path.read_text().splitlines(True)[1:]]
    path.write_text(path.read_text() + "".join(other))
    motions = read_motions(path)
    with pytest.raises(ValueError, match=r"2 sources, \['a.mp4', 'b.mp4'\]; expected --source"):
        select(motions)
    assert select(motions, source="b.mp4").source == "b.mp4"
    with pytest.raises(ValueError, match="--source is 'c'; expected one of"):
        select(motions, source="c")
    with pytest.raises(ValueError, match=r"--id is 7; expected one of the ids \[1\]"):
        select(motions, source="a.mp4", track_id=7)
    with pytest.raises(ValueError, match="there are no people"):
        select([])
    with pytest.raises(ValueError, match=r"person 1 in b.mp4 is in 3 frames; expected 5 or more"):
        select(read_motions(short))
