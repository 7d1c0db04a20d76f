"""``slimpose benchmark`` on synthetic models, what it is made of, and how fast DARK in NumPy is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from slimpose import heatmap
from slimpose.arrays import Size
from slimpose.cli.benchmark import _share
from slimpose.cli.main import main
from slimpose.measure import benchmark, peak_throughput
from slimpose.measure.benchmark import backend_choices, model_entry, peer_entry, unique_names
from slimpose.measure.pipeline_latency import STAGES, time_pipeline
from slimpose.measure.synthetic_video import cut_out_people, drawn_person, make_video
from slimpose.runtime.auto_backend import BackendChoice
from slimpose.runtime.backends.available import BackendStatus
from slimpose.runtime.backends.base import BackendError
from slimpose.runtime.detector import Detector
from slimpose.runtime.session import Session
from slimpose.runtime.timing import CallTimes, time_interleaved
from synthetic_models import CROP, metadata_of, write_detector_model, write_pose_model

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
NOT_THERE = BackendStatus(
    name="openvino", version="", precisions=(), providers=(), install="pip install it"
)
THERE = BackendStatus(name="onnxruntime", version="1", precisions=("fp32",), providers=(), install="")


@pytest.fixture
def pose(tmp_path: Path) -> Path:
    return write_pose_model(tmp_path / "pose.onnx")


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    return write_detector_model(tmp_path / "detector.onnx")


def raw_graph(path: Path) -> Path:
    """Somebody's graph that no adapter knows."""
    shape = [1, 3, 8, 8]
    puts = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", puts[:1], puts[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def test_the_matrix_products_graph_is_an_onnx_file_and_multiplies() -> None:
    rng = np.random.default_rng(1)
    left, right = (rng.integers(0, 100, (8, 8)) for _ in range(2))
    for kind, given, constant, types in (
        ("MatMul", np.float32, np.float32, (1, 1, 1)),
        ("MatMulInteger", np.uint8, np.int8, (2, 3, 6)),
    ):
        onnx.checker.check_model(
            onnx.load_from_string(peak_throughput._model(kind, right.astype(constant), types))
        )
        session = peak_throughput._product(kind, right.astype(constant), types, 1)
        np.testing.assert_array_equal(session.run(None, {"a": left.astype(given)})[0], left @ right)


def test_a_peak_is_so_many_multiply_adds_a_second() -> None:
    found = peak_throughput.peak_gmac_per_s(1, side=64, rounds=3)
    assert found.keys() == {"fp32", "int8"}
    assert all(gmac > 0.01 for gmac in found.values())


@pytest.mark.parametrize("people", [1, 2, 5, 10, 13])
def test_a_film_shows_so_many_people_inside_the_picture_and_apart(people: int) -> None:
    film = make_video([drawn_person()], people, frames=3)
    assert film.picture(0).shape == film.picture(4).shape == (720, 1280, 3)
    for boxes in film.boxes_image:
        assert boxes.shape == (people, 4)
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= (1280, 720)).all()
        assert (boxes[:, 2:] - boxes[:, :2] > 20).all()
    assert people == 1 or (film.boxes_image[0] != film.boxes_image[1]).any()
    with pytest.raises(ValueError, match="a film of 0 people"):
        make_video([drawn_person()], 0)


def test_people_are_cut_out_of_photos(detector: Path, tmp_path: Path) -> None:
    people = cut_out_people(PHOTOS, Detector(Session(detector, threads=1), score_threshold=0.0))
    for patch in people:
        height, width = patch.rgb.shape[:2]
        assert (patch.box >= -1).all()
        assert (patch.box <= (width, height, width, height)).all()
    assert [len(patch.rgb) for patch in people] == sorted(
        (len(patch.rgb) for patch in people), reverse=True
    )
    with pytest.raises(NotADirectoryError, match="no image folder"):
        cut_out_people(tmp_path / "nothing", Detector(Session(detector, threads=1)))


def test_the_whole_way_looks_at_all_people_of_all_cameras(pose: Path, detector: Path) -> None:
    film = make_video([drawn_person()], 3, frames=4)
    sessions = Session(pose, threads=1), Session(detector, threads=1)
    times = time_pipeline(*sessions, film, cameras=2, detect_every=1, steps=4, seconds=60.0)
    assert times.people >= 3
    assert times.detections == pytest.approx(1.0)
    assert set(times.stages_ms) == set(STAGES)
    assert sum(times.stages_ms.values()) <= 1.2 * 1e3 / times.fps
    assert times.step.calls == 4


def test_only_backends_that_are_there_take_part(pose: Path) -> None:
    found = {"onnxruntime": THERE, "openvino": NOT_THERE}
    assert backend_choices(pose, found) == [BackendChoice()]
    assert backend_choices(pose, found, precisions=("bf16",)) == []
    with pytest.raises(BackendError, match="openvino is not there: pip install it"):
        backend_choices(pose, found, backends=("openvino",))
    with pytest.raises(BackendError, match="no backend is named 'tpu'"):
        backend_choices(pose, found, backends=("tpu",))


def test_files_of_one_stem_are_told_apart() -> None:
    mine, yours, other = Path("a/best.onnx"), Path("b/best.onnx"), Path("b/net.onnx")
    assert unique_names([mine, yours, other]) == {mine: str(mine), yours: str(yours), other: "net"}
    assert unique_names([other, other]) == {other: "net"}


def test_a_measurement_of_memory_that_does_not_end_is_none(
    pose: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "_MEMORY_S", 0.01)
    assert benchmark.memory_mb(pose, BackendChoice(), threads=1, people=1) is None


def test_any_graph_can_be_a_peer_for_one_input(tmp_path: Path) -> None:
    contender = peer_entry(raw_graph(tmp_path / "raw.onnx"), name="raw", threads=1)
    assert contender.call(2) is None
    call = contender.call(1)
    assert call is not None
    call()
    (tmp_path / "notes.onnx").write_text("no model")
    with pytest.raises(ValueError, match="not an ONNX file"):
        peer_entry(tmp_path / "notes.onnx", name="notes", threads=1)


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", *map(str, words)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_last_line_holds_every_figure(
    pose: Path, detector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = "--model", pose, "--detector", detector, "--peers", raw_graph(tmp_path / "raw.onnx")
    assert (
        run(*models, "--quick", "--people", "1", "2", "--threads", "1", "--backend", "onnxruntime")
        == 0
    )
    *_, last = capsys.readouterr().out.splitlines()
    told: dict[str, Any] = json.loads(last)
    alone = {(row["name"], row["people"]) for row in told["alone"]}
    ours, finder = "pose onnxruntime fp32", "detector onnxruntime fp32"
    assert alone == {(ours, 1), (ours, 2), ("raw", 1), (finder, 1)}
    for row in told["alone"]:
        assert 0 < row["median_ms"] <= row["p95_ms"]
        assert (row["share_of_peak"] is None) == (row["name"] == "raw")
    assert [row["people"] for row in told["pipeline"]] == [1, 2]
    assert told["machine"]["threads"] >= 1
    assert told["peak_gmac_per_s"]["1"]["int8"] > 0
    assert told["quick"] is True
    if sys.platform == "linux":
        assert [row["name"] for row in told["memory"]] == ["pose onnxruntime"]
        assert told["memory"][0]["peak_mb"] >= told["memory"][0]["before_mb"] > 10


def test_files_of_one_name_are_both_timed_as_often_as_asked(
    pose: Path,
    detector: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    twin = tmp_path / "twin" / pose.name
    twin.parent.mkdir()
    shutil.copyfile(pose, twin)
    asked: list[int] = []

    def counted(calls: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, CallTimes]:
        asked.append(rounds)
        return time_interleaved(calls, rounds=rounds)

    monkeypatch.setattr("slimpose.cli.benchmark.in_turn", counted)
    options = (
        "--quick",
        "--rounds",
        "5",
        "--people",
        "1",
        "--threads",
        "1",
        "--backend",
        "onnxruntime",
    )
    assert (
        run("--model", pose, twin, "--detector", detector, "--no-pipeline", "--no-memory", *options)
        == 0
    )
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["name"] for row in told["alone"]] == [
        f"{pose} onnxruntime fp32",
        f"{twin} onnxruntime fp32",
        "detector onnxruntime fp32",
    ]
    assert asked == [5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--people", "0"), "--people is 0; expected numbers of 1 or more"),
        (("--threads", "1", "-1"), "--threads is 1, -1; expected"),
        (("--seconds", "0"), "--seconds is 0; expected a number over 0"),
        (("--rounds", "0"), "--rounds is 0"),
        (("--backend", "tpu"), "no backend is named 'tpu'"),
        (
            ("--backend", "ncnn"),
            r"(ncnn does not read .*; expected a \.ncnn\.param file|ncnn is not there)",
        ),
        (("--precision", "fp7"), "nothing here runs .* in fp7; see slimpose doctor"),
        (("--peers", "/nowhere.onnx"), "no model file /nowhere.onnx"),
    ],
)
def test_bad_options_are_refused(
    pose: Path,
    detector: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    message: str,
) -> None:
    given = ["--threads", "1"] if "--threads" not in options else []
    assert (
        run("--model", pose, "--detector", detector, "--no-pipeline", "--quick", *given, *options)
        == 2
    )
    assert re.search(message, capsys.readouterr().err)


def test_a_shares_peak_is_that_of_its_precision(tmp_path: Path) -> None:
    path = write_pose_model(
        tmp_path / "int8.onnx", metadata=metadata_of("pose", CROP, precision="int8", gmac="0.5")
    )
    contender = model_entry(path, BackendChoice(), name="int8", threads=1)
    # Two people of 0.5 GMAC in 10 ms are 100 GMAC a second.
    assert _share(contender, 2, 10.0, {"fp32": 200.0, "int8": 400.0}) == 0.25


def dark_of_one_joint(cells: np.ndarray) -> np.ndarray:
    """DARK as published, for one map: blur it, then one Newton step by finite differences at the maximum."""
    kernel = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 2.0**2))
    kernel /= kernel.sum()
    blurred = np.array([np.convolve(row, kernel, "same") for row in cells])
    blurred = np.array([np.convolve(column, kernel, "same") for column in blurred.T]).T
    at = np.log(np.maximum(blurred, 1e-10))
    y, x = np.unravel_index(int(cells.argmax()), cells.shape)
    point = np.array([x, y], np.float64)
    if 1 < x < cells.shape[1] - 2 and 1 < y < cells.shape[0] - 2:
        gradient = 0.5 * np.array([at[y, x + 1] - at[y, x - 1], at[y + 1, x] - at[y - 1, x]])
        xx = 0.25 * (at[y, x + 2] - 2 * at[y, x] + at[y, x - 2])
        yy = 0.25 * (at[y + 2, x] - 2 * at[y, x] + at[y - 2, x])
        xy = 0.25 * (at[y + 1, x + 1] - at[y - 1, x + 1] - at[y + 1, x - 1] + at[y - 1, x - 1])
        point -= np.linalg.inv(np.array([[xx, xy], [xy, yy]])) @ gradient
    return point


def in_a_loop(maps: np.ndarray) -> np.ndarray:
    return np.array([[dark_of_one_joint(cells) for cells in person] for person in maps])


def ten_people() -> tuple[np.ndarray, np.ndarray]:
    points = np.random.default_rng(0).uniform((8, 8), (40, 56), (10, 17, 2)).astype(np.float32)
    return points, heatmap.encode(points, Size(64, 48), sigma_px=2.0)


def test_the_loop_that_dark_is_compared_with_decodes_too() -> None:
    points, maps = ten_people()
    np.testing.assert_allclose(in_a_loop(maps), points, atol=0.05)
    np.testing.assert_allclose(heatmap.decode(maps).points_heatmap, points, atol=0.05)


def dark_ms() -> dict[str, float]:
    """Milliseconds of processor time for ten people, by the way they are decoded."""
    _, maps = ten_people()
    ways = {
        "at once": lambda: heatmap.decode(maps),
        "loop": lambda: in_a_loop(maps),
        "loop of the same": lambda: [
            heatmap.decode(maps[n : n + 1, j : j + 1]) for n in range(10) for j in range(17)
        ],
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(6):
        for name, decode in ways.items():
            for _ in range(5 if name == "at once" else 1):
                started = time.thread_time()
                decode()
                taken[name].append(time.thread_time() - started)
    return {
        name: 1e3 * min(seconds) for name, seconds in taken.items()
    }  # what else runs only adds to it


@pytest.mark.slow
def test_dark_for_ten_people_at_once_takes_a_fiftieth_of_a_loop_over_joints() -> None:
    # In a process of its own: under pytest all array shapes are checked, which takes longer than
    # decoding.
    program = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1] / 'support')!r})\n"
    program += "import json, test_benchmark; print(json.dumps(test_benchmark.dark_ms()))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    ms = json.loads(done.stdout)
    print(ms)
    assert ms["loop"] >= 50 * ms["at once"]
    assert ms["loop of the same"] >= 20 * ms["at once"]
