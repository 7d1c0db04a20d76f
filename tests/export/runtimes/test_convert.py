"""Files for other runtimes: compared with their ONNX twin, and no partial files left by errors."""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from run_main import run_main
from slimpose.arrays import Size
from slimpose.export import onnx as onnx_export
from slimpose.export.runtimes import convert
from slimpose.export.torch_model import TorchModel
from slimpose.network.pose_net import PoseNet
from slimpose.network.weights import LoadedNetwork, save_checkpoint
from slimpose.runtime.auto_backend import BackendChoice, choices_for_file, open_session
from slimpose.runtime.backends.available import (
    FILE_SUFFIXES,
    NATIVE_FILES,
    backends,
    read_metadata,
)
from slimpose.runtime.backends.base import BackendError
from slimpose.runtime.session import Session
from tiny_training import SHALLOW

SPEC = dataclasses.replace(SHALLOW, size=Size(96, 64))
NAMES = {"openvino": "net.xml", "ncnn": "net.ncnn.param", "litert": "net.tflite"}
PACKAGES = {"openvino": (), "ncnn": ("ncnn", "pnnx"), "litert": ("litert_torch", "ai_edge_litert")}


@pytest.fixture(scope="module")
def loaded() -> LoadedNetwork:
    """An untrained net whose heatmaps are large enough to have peaks."""
    torch.manual_seed(0)
    net = PoseNet(SPEC).eval()
    torch.nn.init.normal_(net.to_heatmaps.weight, std=0.5)
    metadata = {"task": "pose", "net": SPEC.to_json()}
    return LoadedNetwork(net=net, spec=SPEC, task="pose", metadata=metadata, sha256="0")


def write(
    source: LoadedNetwork | Path, out: Path, precision: str = "fp32", people: int = 8
) -> onnx_export.ExportDrift:
    images = onnx_export.smooth_noise_images(people, SPEC.size)
    options = onnx_export.FileOptions(
        name="net", card={"license": "none"}, precision=precision, images=images
    )
    return convert.convert(source, out, options)


@pytest.fixture(scope="module", params=list(NAMES))
def file(
    request: pytest.FixtureRequest,
    loaded: LoadedNetwork,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    for package in PACKAGES[request.param]:
        pytest.importorskip(package)
    out = tmp_path_factory.mktemp(request.param) / NAMES[request.param]
    write(loaded, out)
    return out


@pytest.mark.parametrize("runtime", NAMES)
def test_relative_name_is_written_from_the_current_folder(
    runtime: str, loaded: LoadedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in PACKAGES[runtime]:
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    write(loaded, Path("folder") / NAMES[runtime])
    assert (tmp_path / "folder" / NAMES[runtime]).is_file()


def test_outputs_match_pytorch_for_any_batch(file: Path, loaded: LoadedNetwork) -> None:
    reference, session = TorchModel(loaded), Session(file, threads=1)
    names = reference.outputs
    for people in (0, 1, 5):
        crops = onnx_export.smooth_noise_images(max(people, 1), SPEC.size)[:people]
        expected, actual = reference.run(crops, names), session.run(crops, names)
        assert [array.shape for array in actual] == [array.shape for array in expected]
        assert all(array.dtype == np.float32 for array in actual)
        drift = onnx_export.drift_of(
            dict(zip(names, expected, strict=True)), dict(zip(names, actual, strict=True))
        )
        assert drift.pixels < 0.05
        assert drift.maps < 1e-3
        np.testing.assert_allclose(actual[2], expected[2], rtol=0.01, atol=0.05)


def test_file_has_its_metadata_and_leaves_nothing_else(file: Path) -> None:
    info = Session(file, threads=1).info
    assert (info.name, info.task, info.size, info.precision) == ("net", "pose", SPEC.size, "fp32")
    assert info.card == {"license": "none"}
    assert info.skeleton.joints[0] == "nose"
    companions = {"net.xml": {"net.bin"}, "net.ncnn.param": {"net.ncnn.bin", "net.ncnn.json"}}
    names = {other.name for other in file.parent.iterdir()}
    assert names == {file.name} | companions.get(file.name, set())


def test_benchmark_times_the_file_end_to_end(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--quick --people 1 --threads 1 --precision fp32 --seconds 0.1 --no-memory --json"
    assert run_main("benchmark", "--model", file, *options.split()) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    (row,) = report["pipeline"]
    assert row["name"] == f"{file.stem} {FILE_SUFFIXES[file.suffix]} fp32"
    assert row["detector"].startswith("detector ")


def test_file_runs_in_its_own_backend_by_default(file: Path) -> None:
    own = FILE_SUFFIXES[file.suffix]
    assert Session(file, threads=1).backend == own
    assert open_session(file, threads=1, backend="auto").backend == own
    assert BackendChoice(backend=own) in choices_for_file(file, None, backends())
    other = "openvino" if own != "openvino" else "ncnn"
    with pytest.raises(
        BackendError, match=f"{file.name} runs in {own} only; expected --backend {own}"
    ):
        Session(file, backend=other)


def test_precision_other_than_the_files_is_rejected(file: Path) -> None:
    with pytest.raises(BackendError, match="expected"):
        Session(file, precision="int8")


def test_truncated_file_is_rejected(file: Path, tmp_path: Path) -> None:
    broken = tmp_path / file.name
    for other in file.parent.iterdir():
        (tmp_path / other.name).write_bytes(other.read_bytes())
    broken.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    with pytest.raises(ValueError, match=f"{file.name}.*(truncated|is not a slimpose model)"):
        Session(broken)


def test_fp16_file_is_half_the_size_and_reports_its_precision(
    file: Path, loaded: LoadedNetwork, tmp_path: Path
) -> None:
    out = tmp_path / file.name
    drift = write(loaded, out, precision="fp16")
    assert Session(out, threads=1).info.precision == "fp16"
    assert 0 < drift.maps < 0.05
    sizes = [sum(other.stat().st_size for other in path.parent.iterdir()) for path in (file, out)]
    assert sizes[1] < 0.75 * sizes[0]


def test_int8_tflite_file_is_a_third_of_the_size_and_accurate(
    loaded: LoadedNetwork, tmp_path: Path
) -> None:
    for package in PACKAGES["litert"]:
        pytest.importorskip(package)
    drift = write(loaded, tmp_path / "net.tflite", precision="int8", people=32)
    assert Session(tmp_path / "net.tflite", threads=1).precision == "int8"
    assert (tmp_path / "net.tflite").stat().st_size < 4e6
    assert 0 < drift.maps < 0.5


def test_openvino_file_is_made_from_an_onnx_file(loaded: LoadedNetwork, tmp_path: Path) -> None:
    onnx_export.export(loaded, tmp_path / "net.onnx", name="twin", card={})
    drift = write(tmp_path / "net.onnx", tmp_path / "net.xml")
    assert drift.pixels < 0.01
    assert dict(read_metadata(tmp_path / "net.xml")) == dict(read_metadata(tmp_path / "net.onnx"))
    with pytest.raises(ValueError, match=r"net\.onnx is ONNX; expected weights .* for ncnn"):
        write(tmp_path / "net.onnx", tmp_path / "net.ncnn.param")


def test_unsupported_precision_or_name_is_rejected_and_nothing_written(
    loaded: LoadedNetwork, tmp_path: Path
) -> None:
    with pytest.raises(
        ValueError, match="ncnn files are not written in int8; expected fp32 or fp16"
    ):
        write(loaded, tmp_path / "net.ncnn.param", precision="int8")
    with pytest.raises(ValueError, match=r"expected a name that ends in \.ncnn\.param"):
        write(loaded, tmp_path / "net.param")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("backend", NATIVE_FILES)
def test_every_native_format_has_an_exporter(backend: str) -> None:
    module = f"slimpose.export.runtimes.{NATIVE_FILES[backend].exporter}"
    assert callable(importlib.import_module(module).write)


def test_file_that_differs_from_its_source_is_not_written(
    loaded: LoadedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.xml").write_text("the previous file")
    outputs_of = convert._outputs_of  # pyright: ignore[reportPrivateUsage]
    shift = iter((0.0, 0.2))
    monkeypatch.setattr(
        convert,
        "_outputs_of",
        lambda *arguments: {
            name: array + next(shift) if name == "heatmaps" else array
            for name, array in outputs_of(*arguments).items()
        },
    )
    with pytest.raises(
        RuntimeError, match=r"differs from PyTorch .* 0\.2 in its maps.*nothing was written"
    ):
        write(loaded, tmp_path / "net.xml")
    assert [file.name for file in tmp_path.iterdir()] == ["net.xml"]
    assert (tmp_path / "net.xml").read_text() == "the previous file"


@pytest.fixture
def weights(loaded: LoadedNetwork, tmp_path: Path) -> Path:
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, loaded.net.state_dict(), loaded.metadata)
    return path


def test_export_writes_the_format_of_the_suffix_and_reports_the_drift(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main("export", weights, "--out", tmp_path / "a.xml", "--precision", "fp16") == 0
    printed = capsys.readouterr().out
    megabytes = sum((tmp_path / name).stat().st_size for name in ("a.xml", "a.bin")) / 1e6
    assert f"a.xml: {megabytes:.1f} MB, within " in printed
    assert printed.rstrip().endswith("of PyTorch on noise")
    assert Session(tmp_path / "a.xml", threads=1).info.precision == "fp16"
    assert run_main("export", "mnv2", "--out", tmp_path / "b.xml") == 0
    assert Session(tmp_path / "b.xml", threads=1).info.name == "mnv2"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--out", "a.onnx", "--precision", "fp16"),
            "use slimpose quantize --precision fp16 on the exported file",
        ),
        (("--out", "a.tflite", "--precision", "int8"), "expected --images, a folder of images"),
        (("--out", "a.xml", "--no-heatmaps"), "--no-heatmaps is for FILE.onnx"),
        (
            ("--out", "a.xml", "--annotations", "a.json"),
            "--annotations needs --images, the folder of the annotated images",
        ),
        (("--out", "a.ncnn.param", "--images", "empty"), "empty contains no images"),
    ],
)
def test_export_rejects_invalid_options(
    words: tuple[str, ...],
    message: str,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert run_main("export", weights, *words) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert {file.name for file in tmp_path.iterdir()} == {"best.safetensors", "empty"}
