"""Files for other runtimes: each opened and run as its ONNX twin, what is refused, and that nothing half is left."""

from __future__ import annotations

import dataclasses
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from slimpose import heatmap
from slimpose.arrays import Size
from slimpose.cli.main import main
from slimpose.export import onnx as onnx_export
from slimpose.export.runtimes import convert
from slimpose.geometry import heatmap_to_crop
from slimpose.network.pose_net import PoseNet
from slimpose.runtime.auto_backend import DEFAULT, BackendChoice, choices_for_file, open_session
from slimpose.runtime.backends import heatmaps_only
from slimpose.runtime.backends.available import backends, read_metadata
from slimpose.runtime.backends.base import BACKENDS, FILE_SUFFIXES, BackendError, backend_of
from slimpose.runtime.backends.litert import METADATA_NAME, attach_metadata, attached_metadata
from slimpose.runtime.backends.ncnn import companion_paths
from slimpose.runtime.session import Session
from slimpose.train import checkpoint
from tiny_training import SHALLOW

SPEC = dataclasses.replace(SHALLOW, size=Size(96, 64))
NAMES = {"openvino": "net.xml", "ncnn": "net.ncnn.param", "litert": "net.tflite"}
PACKAGES = {
    "openvino": ("openvino",),
    "ncnn": ("ncnn", "pnnx"),
    "litert": ("litert_torch", "ai_edge_litert"),
}


@pytest.fixture(scope="module")
def loaded() -> onnx_export.LoadedWeights:
    """An untrained net whose heatmaps are large enough to have peaks."""
    torch.manual_seed(0)
    net = PoseNet(SPEC).eval()
    torch.nn.init.normal_(net.to_heatmaps.weight, std=0.5)
    return onnx_export.LoadedWeights(
        net=net,
        spec=SPEC,
        task="pose",
        metadata={"task": "pose", "net": SPEC.to_json()},
        sha256="0",
    )


def write(
    loaded: onnx_export.LoadedWeights | Path, out: Path, precision: str = "fp32", people: int = 8
) -> onnx_export.ExportDrift:
    pictures = onnx_export.smooth_noise_images(people, SPEC.size)
    return convert.convert(
        loaded, out, name="net", card={"license": "none"}, precision=precision, images=pictures
    )


@pytest.fixture(scope="module", params=list(NAMES))
def file(
    request: pytest.FixtureRequest,
    loaded: onnx_export.LoadedWeights,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    for package in PACKAGES[request.param]:
        pytest.importorskip(package)
    out = tmp_path_factory.mktemp(request.param) / NAMES[request.param]
    write(loaded, out)
    return out


def test_it_answers_as_pytorch_does_for_any_batch(
    file: Path, loaded: onnx_export.LoadedWeights
) -> None:
    twin, session = onnx_export.TorchModel(loaded), Session(file, threads=1)
    for people in (0, 1, 5):
        crops = onnx_export.smooth_noise_images(max(people, 1), SPEC.size)[:people]
        mine, theirs = twin.run(crops, twin.outputs), session.run(crops, twin.outputs)
        assert [answer.shape for answer in theirs] == [answer.shape for answer in mine]
        assert all(answer.dtype == np.float32 for answer in theirs)
        drift = onnx_export.drift_of(
            dict(zip(twin.outputs, mine, strict=True)), dict(zip(twin.outputs, theirs, strict=True))
        )
        assert drift.pixels < 0.05
        assert drift.maps < 1e-3
        np.testing.assert_allclose(theirs[2], mine[2], rtol=0.01, atol=0.05)


def test_it_tells_what_it_is_and_leaves_nothing_else_behind(file: Path) -> None:
    info = Session(file, threads=1).info
    assert (info.name, info.task, info.size, info.precision) == ("net", "pose", SPEC.size, "fp32")
    assert info.card == {"license": "none"}
    assert info.skeleton.joints[0] == "nose"
    belongs = {
        "net.xml": {"net.bin"},
        "net.ncnn.param": {"net.ncnn.bin", "net.ncnn.json"},
        "net.tflite": set(),
    }
    assert {other.name for other in file.parent.iterdir()} == {file.name} | belongs[file.name]


def test_a_benchmark_times_it_the_whole_way(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = (
        "--quick",
        "--people",
        "1",
        "--threads",
        "1",
        "--precision",
        "fp32",
        "--seconds",
        "0.1",
        "--no-memory",
    )
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", "--model", str(file), *options])
    assert ended.value.code == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    (row,) = told["pipeline"]
    assert row["name"] == f"{file.stem} {FILE_SUFFIXES[file.suffix]} fp32"
    assert row["detector"].startswith("detector ")


def test_it_runs_in_its_own_backend_whatever_the_default_is(file: Path) -> None:
    own = FILE_SUFFIXES[file.suffix]
    assert Session(file, threads=1).backend == own
    assert open_session(file, threads=1, backend="auto").backend == own
    assert BackendChoice(backend=own) in choices_for_file(file, "", backends())
    other = "openvino" if own != "openvino" else "ncnn"
    with pytest.raises(
        BackendError, match=f"{file.name} runs in {own} only; expected --backend {own}"
    ):
        Session(file, backend=other)


def test_a_precision_it_was_not_written_in_is_refused(file: Path) -> None:
    with pytest.raises(BackendError, match="expected"):
        Session(file, precision="int8")


def test_files_cut_off_are_told(file: Path, tmp_path: Path) -> None:
    broken = tmp_path / file.name
    for other in file.parent.iterdir():
        (tmp_path / other.name).write_bytes(other.read_bytes())
    broken.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    with pytest.raises(ValueError, match=f"{file.name}.*(cut off|is not a slimpose model)"):
        Session(broken)


def test_halves_are_half_the_size_and_say_so(
    file: Path, loaded: onnx_export.LoadedWeights, tmp_path: Path
) -> None:
    out = tmp_path / file.name
    drift = write(loaded, out, precision="fp16")
    assert Session(out, threads=1).info.precision == "fp16"
    assert 0 < drift.maps < 0.05
    sizes = [sum(other.stat().st_size for other in path.parent.iterdir()) for path in (file, out)]
    assert sizes[1] < 0.75 * sizes[0]


def test_an_int8_tflite_file_is_a_third_of_the_size_and_near(
    loaded: onnx_export.LoadedWeights, tmp_path: Path
) -> None:
    for package in PACKAGES["litert"]:
        pytest.importorskip(package)
    drift = write(loaded, tmp_path / "net.tflite", precision="int8", people=32)
    assert Session(tmp_path / "net.tflite", threads=1).precision == "int8"
    assert (tmp_path / "net.tflite").stat().st_size < 4e6
    assert 0 < drift.maps < 0.5


def test_openvino_files_are_made_of_onnx_files_too(
    loaded: onnx_export.LoadedWeights, tmp_path: Path
) -> None:
    onnx_export.export(loaded, tmp_path / "net.onnx", name="twin", card={})
    drift = write(tmp_path / "net.onnx", tmp_path / "net.xml")
    assert drift.pixels < 0.01
    assert dict(read_metadata(tmp_path / "net.xml")) == dict(read_metadata(tmp_path / "net.onnx"))
    with pytest.raises(ValueError, match=r"net\.onnx is ONNX; expected weights .* for ncnn"):
        write(tmp_path / "net.onnx", tmp_path / "net.ncnn.param")


def test_what_cannot_be_written_is_refused_and_nothing_is_left(
    loaded: onnx_export.LoadedWeights, tmp_path: Path
) -> None:
    with pytest.raises(
        ValueError, match="ncnn files are not written in int8; expected fp32 or fp16"
    ):
        write(loaded, tmp_path / "net.ncnn.param", precision="int8")
    with pytest.raises(ValueError, match=r"expected a name that ends in \.ncnn\.param"):
        write(loaded, tmp_path / "net.param")
    assert not list(tmp_path.iterdir())


def test_a_file_that_differs_from_its_source_is_not_written(
    loaded: onnx_export.LoadedWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.xml").write_text("the last good one")
    answers = convert._outputs_of  # pyright: ignore[reportPrivateUsage]
    shift = iter((0.0, 0.2))
    monkeypatch.setattr(
        convert,
        "_outputs_of",
        lambda *given: {
            k: v + next(shift) if k == "heatmaps" else v for k, v in answers(*given).items()
        },
    )
    with pytest.raises(
        RuntimeError, match=r"differs from PyTorch .* 0\.2 in its maps.*nothing was written"
    ):
        write(loaded, tmp_path / "net.xml")
    assert [file.name for file in tmp_path.iterdir()] == ["net.xml"]
    assert (tmp_path / "net.xml").read_text() == "the last good one"


def test_heatmaps_are_decoded_to_what_the_graph_would_say() -> None:
    center = np.array([[[7.3, 9.6], [11.0, 4.5]]], np.float32)
    maps = heatmap.encode(center, Size(24, 16), sigma_px=2.0)
    metadata = {"stride": "4"}
    points, scores, covariances, same = heatmaps_only.decode_outputs(maps, metadata, heatmaps_only.OUTPUTS)
    np.testing.assert_allclose(points, heatmap_to_crop(center, 4), atol=0.01)
    np.testing.assert_allclose(scores, 1, atol=0.05)
    np.testing.assert_allclose(covariances[0, 0], np.eye(2) * (2.0 * 4) ** 2, atol=1.0)
    assert same is maps


def test_each_backend_reads_its_own_files(tmp_path: Path) -> None:
    assert [backend_of(Path(name), "onnxruntime") for name in ("a.onnx", *NAMES.values())] == [
        "onnxruntime", "openvino", "ncnn", "litert",
    ]  # fmt: skip
    assert backend_of(Path("a.onnx"), "openvino") == "openvino"
    for backend, suffix in (("litert", ".tflite"), ("ncnn", ".ncnn.param")):
        with pytest.raises(
            BackendError, match=rf"{backend} does not read a\.onnx; expected a \{suffix} file"
        ):
            backend_of(Path("a.onnx"), backend)
    with pytest.raises(
        BackendError, match=r"no backend is named 'tpu'; expected one of onnxruntime, .*ncnn"
    ):
        backend_of(Path("a.onnx"), "tpu")
    assert set(backends()) == set(BACKENDS)
    assert DEFAULT.backend == "onnxruntime"
    (tmp_path / "a.ncnn.param").touch()
    with pytest.raises(
        FileNotFoundError, match=r"no model file .*a\.ncnn\.bin; an NCNN model is a\.ncnn\.param, "
    ):
        Session(tmp_path / "a.ncnn.param")


def test_metadata_is_attached_as_android_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "net.tflite"
    file.write_bytes(b"graph" * 100)
    assert attached_metadata(file) == {}
    attach_metadata(file, {"slimpose": "1", "name": "net"})
    assert attached_metadata(file) == {"slimpose": "1", "name": "net"}
    assert file.read_bytes().startswith(b"graph")
    with zipfile.ZipFile(file) as archive:
        assert json.loads(archive.read(METADATA_NAME)) == {"slimpose": "1", "name": "net"}


def test_other_peoples_tflite_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"graph")
    with pytest.raises(
        ValueError, match=r"net\.tflite is not a slimpose model: no slimpose\.json is attached"
    ):
        Session(tmp_path / "net.tflite")


def test_an_ncnn_model_is_three_files() -> None:
    assert [file.name for file in companion_paths(Path("x/net.ncnn.param"))] == [
        "net.ncnn.bin",
        "net.ncnn.json",
    ]


@pytest.mark.parametrize("backend", ["litert", "ncnn"])
def test_a_detector_is_not_for_graphs_that_end_in_heatmaps(backend: str) -> None:
    metadata = {"height": "64", "width": "48", "stride": "4", "task": "detect"}
    with pytest.raises(ValueError, match=r"says task 'detect'.*expected a pose net"):
        heatmaps_only.input_shape(metadata, Path(NAMES[backend]))


@pytest.fixture
def weights(loaded: onnx_export.LoadedWeights, tmp_path: Path) -> Path:
    path = tmp_path / "best.safetensors"
    checkpoint.save(path, loaded.net.state_dict(), loaded.metadata)
    return path


def exported(*words: object) -> int | str | None:
    """Return the verb's exit code."""
    with pytest.raises(SystemExit) as ended:
        main(["export", *map(str, words)])
    return ended.value.code


def test_the_verb_writes_what_the_name_says_and_how_near_it_is(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exported(weights, "--out", tmp_path / "a.xml", "--precision", "fp16") == 0
    said = capsys.readouterr().out
    megabytes = sum((tmp_path / name).stat().st_size for name in ("a.xml", "a.bin")) / 1e6
    assert f"a.xml: {megabytes:.1f} MB, within " in said
    assert said.rstrip().endswith("of PyTorch on noise")
    assert Session(tmp_path / "a.xml", threads=1).info.precision == "fp16"
    assert exported("mnv2", "--out", tmp_path / "b.xml") == 0
    assert Session(tmp_path / "b.xml", threads=1).info.name == "mnv2"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--out", "a.onnx", "--precision", "fp16"),
            "slimpose quantize --precision fp16 makes one of those",
        ),
        (("--out", "a.tflite", "--precision", "int8"), "expected --images, a folder of pictures"),
        (("--out", "a.xml", "--no-heatmaps"), "--no-heatmaps is for FILE.onnx"),
        (
            ("--out", "a.xml", "--annotations", "a.json"),
            "expected --images, the folder they are in, too",
        ),
        (("--out", "a.ncnn.param", "--images", "empty"), "empty contains no images"),
    ],
)
def test_the_verb_refuses_what_cannot_be(
    words: tuple[str, ...], message: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert exported(weights, *words) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert {file.name for file in tmp_path.iterdir()} == {"best.safetensors", "empty"}


def test_an_absent_runtime_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "net.tflite"
    file.write_bytes(b"graph")
    attach_metadata(file, {"height": "64", "width": "48", "stride": "4", "task": "pose"})
    absent = backends() | {
        "litert": dataclasses.replace(backends()["litert"], install="pip install ai-edge-litert")
    }
    with pytest.raises(
        BackendError, match="runs in litert only, which is not there: pip install ai-edge-litert"
    ):
        choices_for_file(file, "", absent)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(BackendError, match="not installed: pip install ai-edge-litert"):
        Session(file)
