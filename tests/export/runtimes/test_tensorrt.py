"""TensorRT engines: the builder's settings, outputs compared with the source, rejected files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fake_tensorrt import Cuda, TensorRt
from run_main import run_main
from slimpose.export.onnx import FileOptions
from slimpose.export.quantization.graph import network_of, read_float_model, split_graph
from slimpose.export.quantization.int8 import calibrate, quantize_graph
from slimpose.export.quantization.schemes import SCHEMES
from slimpose.export.runtimes import convert, tensorrt
from slimpose.runtime.backends.available import backends, read_metadata
from slimpose.runtime.backends.base import BackendError
from slimpose.runtime.models import shipped
from slimpose.runtime.session import Session
from small_nets import SIZE, small_net


@pytest.fixture
def nvidia(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TensorRt:
    cuda = Cuda()
    fake = TensorRt(cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)  # pyright: ignore[reportArgumentType]
    monkeypatch.setitem(sys.modules, "cuda", ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", ModuleType("cuda.bindings"))
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda)  # pyright: ignore[reportArgumentType]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return fake


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A net whose first layer casts the pixels to float, as TensorRT requires."""
    file = small_net(tmp_path / "small.onnx")
    model = onnx.load(str(file))
    first, second = model.graph.node[0], model.graph.node[1]
    (first.input[0], first.output[0]), (second.input[0], second.output[0]) = (
        ("bytes", "float"),
        ("crops", "bytes"),
    )
    model.graph.node.remove(second)
    cast = onnx.helper.make_node("Cast", ["crops"], ["bytes"], "cast", to=onnx.TensorProto.FLOAT)
    model.graph.node.insert(0, cast)
    first.input[0] = "bytes"
    onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString())
    return file


def noise_images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *SIZE, 3)).astype(np.uint8)


def build_engine(source: Path, out: Path, precision: str = "fp32") -> Path:
    options = FileOptions(name="", card={}, precision=precision, images=noise_images(12))
    convert.convert(source, out, options)
    return out


def quantize(source: Path, out: Path, scheme: str) -> Path:
    model, _ = read_float_model(source)
    parts = split_graph(model, deconvolutions=True)
    ranges = calibrate(
        network_of(model, parts), noise_images(2), method="minmax", folder=out.parent
    )
    quantized = quantize_graph(model, ranges, parts, parts.layers, SCHEMES[scheme])
    for entry in quantized.metadata_props:
        entry.value = "int8" if entry.key == "precision" else entry.value
    out.write_bytes(quantized.SerializeToString())
    return out


def test_engine_outputs_match_the_source_for_any_batch(
    nvidia: TensorRt, small: Path, tmp_path: Path
) -> None:
    source = Session(small, threads=1)
    engine = Session(build_engine(small, tmp_path / "small.engine"))
    assert (engine.backend, engine.precision) == ("tensorrt-engine", "fp32")
    assert set(engine.outputs) == set(source.outputs)
    for people in (0, 1, 7, 23):
        crops = noise_images(people, seed=people)
        for actual, expected in zip(
            engine.run(crops, source.outputs),
            source.run(crops, source.outputs) if people else [],
            strict=False,
        ):
            np.testing.assert_allclose(actual, expected, atol=1e-5)
        assert [len(array) for array in engine.run(crops, ["points", "scores"])] == 2 * [people]
    assert nvidia.cuda.waiting == 0
    assert read_metadata(tmp_path / "small.engine")["built_with"] == "TensorRT 10.3.0"


def test_builder_settings_are_typed_layers_no_tf32_and_batches_of_1_to_10(
    nvidia: TensorRt, small: Path, tmp_path: Path
) -> None:
    build_engine(small, tmp_path / "small.engine")
    assert nvidia.build["flags"] == 0b10
    assert nvidia.build["cleared"] == "tf32"
    assert nvidia.build["profile"] == {"crops": [(1, *SIZE, 3), (5, *SIZE, 3), (10, *SIZE, 3)]}
    assert nvidia.build["timings"] == b""
    build_engine(small, tmp_path / "second.engine")
    assert nvidia.build["timings"] == b"timings"


def test_fp16_engine_keeps_the_decoding_in_fp32(
    nvidia: TensorRt, small: Path, tmp_path: Path
) -> None:
    session = Session(build_engine(small, tmp_path / "fp16.engine", precision="fp16"))
    assert (session.precision, session.info.precision) == ("fp16", "fp16")
    graph = onnx.shape_inference.infer_shapes(nvidia.build["onnx"]).graph
    types = {
        value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)
    }
    assert types["c2_out"] == types["d1_out"] == onnx.TensorProto.FLOAT16
    decoding = [
        node for node in graph.node if node.name in ("top", "px", "center", "spread", "score")
    ]
    assert len(decoding) == 5
    assert {types[node.input[0]] for node in decoding} == {onnx.TensorProto.FLOAT}
    casts = [node for node in graph.node if node.op_type == "Cast"]
    to_fp16 = [node for node in casts if node.attribute[0].i == onnx.TensorProto.FLOAT16]
    assert len(to_fp16) == 1  # of the pixels


def test_int8_engine_is_symmetric_with_deconvolution_scales_on_axis_0(
    nvidia: TensorRt, small: Path, tmp_path: Path
) -> None:
    source = quantize(small, tmp_path / "int8.onnx", "symmetric")
    assert Session(build_engine(source, tmp_path / "int8.engine")).precision == "int8"
    graph = nvidia.build["onnx"].graph
    constants = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    pairs = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert len(pairs) > 10
    assert all(
        constants[node.input[2]].dtype == np.int8 and not constants[node.input[2]].any()
        for node in pairs
    )
    producer = {node.output[0]: node for node in graph.node}
    for name, op, channels in (("c2", "Conv", 8), ("d1", "ConvTranspose", 8)):
        node = next(node for node in graph.node if node.name == name)
        assert node.op_type == op
        dequantize = producer[node.input[1]]
        assert next(entry.i for entry in dequantize.attribute if entry.name == "axis") == 0
        assert constants[dequantize.input[1]].shape == (channels,)
        assert constants[node.input[2]].dtype == np.float32  # TensorRT rejects quantized biases


def test_unsupported_files_are_rejected_before_the_build(small: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"quantized with zero points, at .*--scheme symmetric"):
        tensorrt.check_tensorrt_support(quantize(small, tmp_path / "int8.onnx", "affine"))
    model = onnx.load(str(small))
    model.graph.node[2].op_type, model.graph.node[2].input[1] = "Det", ""
    model.graph.node[2].input.pop()
    (tmp_path / "det.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(
        ValueError,
        match=r"does not run in TensorRT: .*Det.*slimpose lint det\.onnx --target tensorrt-10",
    ):
        tensorrt.check_tensorrt_support(tmp_path / "det.onnx")


@pytest.mark.parametrize("name", ["mnv2", "detector"])
def test_shipped_models_are_supported(name: str) -> None:
    tensorrt.check_tensorrt_support(shipped()[name])


def test_parser_error_is_reported_and_nothing_written(
    nvidia: TensorRt, small: Path, tmp_path: Path
) -> None:
    nvidia.parser_error = "no importer for Foo"
    with pytest.raises(
        ValueError, match=r"TensorRT 10\.3\.0 cannot parse small\.onnx: no importer for Foo"
    ):
        build_engine(small, tmp_path / "new" / "small.engine")
    assert not list((tmp_path / "new").iterdir())


def test_engine_of_another_machine_or_without_metadata_is_rejected(
    nvidia: TensorRt, small: Path, tmp_path: Path
) -> None:
    file = build_engine(small, tmp_path / "small.engine")
    with pytest.raises(BackendError, match="is fp32, and TensorRT computes it as it was written"):
        Session(file, precision="fp16")
    nvidia.__version__ = "10.9.0"  # pyright: ignore[reportAttributeAccessIssue]
    file.write_bytes(b"another GPU's")
    with pytest.raises(
        BackendError,
        match=r"not an engine for this GPU and TensorRT 10\.9\.0 \(.*built for TensorRT 10\.3",
    ):
        Session(file)
    (tmp_path / "small.engine.json").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"small\.engine\.json; an engine of slimpose export is"
    ):
        Session(file)


def test_old_or_missing_packages_are_reported_with_a_remedy(
    nvidia: TensorRt, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia.__version__ = "8.6.1"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(
        BackendError, match=r"TensorRT is 8\.6\.1; expected 10 or newer.*JetPack 6\.1"
    ):
        build_engine(small, tmp_path / "small.engine")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendError, match="not installed: pip install tensorrt cuda-python"):
        build_engine(small, tmp_path / "small.engine")
    assert "JetPack" in backends()["tensorrt-engine"].install
    (tmp_path / "a.engine").touch()
    (tmp_path / "a.engine.json").write_text(json.dumps({}))
    with pytest.raises(BackendError, match="not installed"):
        Session(tmp_path / "a.engine")


def test_device_without_memory_is_reported(nvidia: TensorRt, small: Path, tmp_path: Path) -> None:
    file = build_engine(small, tmp_path / "small.engine")
    nvidia.cuda.cudaMalloc = lambda size: (2, 0)
    with pytest.raises(BackendError, match="CUDA returned 2; expected an NVIDIA device"):
        Session(file)


@pytest.mark.usefixtures("nvidia")
def test_export_builds_the_engine_of_a_shipped_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main("export", "mnv2", "--out", tmp_path / "mnv2.engine") == 0
    assert "of mnv2 on noise" in capsys.readouterr().out
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"mnv2.engine", "mnv2.engine.json", "cache"}
