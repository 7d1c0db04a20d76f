"""Engines: what TensorRT is asked to build, that an engine answers as its file does, and what is refused."""

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
from slimpose.cli.main import main
from slimpose.export.quantization.graph import network_of, read_float_model, split_graph
from slimpose.export.quantization.int8 import calibrate, quantize_graph
from slimpose.export.quantization.schemes import SCHEMES
from slimpose.export.runtimes import convert, tensorrt
from slimpose.runtime.backends.available import backends, metadata_of
from slimpose.runtime.backends.base import BackendError
from slimpose.runtime.models import shipped
from slimpose.runtime.session import Session
from small_nets import SIZE, small_net


@pytest.fixture
def nvidia(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TensorRt:
    cuda = Cuda()
    fake = TensorRt(cuda)
    bindings = ModuleType("cuda.bindings")
    bindings.runtime = cuda  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "tensorrt", fake)  # pyright: ignore[reportArgumentType]
    monkeypatch.setitem(sys.modules, "cuda", ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return fake


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A net whose first layer makes floats of the bytes, as TensorRT wants it."""
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


def built(source: Path, out: Path, precision: str = "fp32") -> Path:
    pictures = np.random.default_rng(0).integers(0, 256, (12, *SIZE, 3)).astype(np.uint8)
    convert.convert(source, out, name="", card={}, precision=precision, pictures=pictures)
    return out


def rounded(source: Path, out: Path, scheme: str) -> Path:
    model, _ = read_float_model(source)
    parts = split_graph(model, deconvolutions=True)
    pictures = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3)).astype(np.uint8)
    ranges = calibrate(network_of(model, parts), pictures, method="minmax", folder=out.parent)
    made = quantize_graph(model, ranges, parts, parts.layers, SCHEMES[scheme])
    for entry in made.metadata_props:
        entry.value = "int8" if entry.key == "precision" else entry.value
    out.write_bytes(made.SerializeToString())
    return out


def test_an_engine_answers_as_its_file_does_for_any_batch(
    nvidia: TensorRt, small: Path, tmp_path: Path
) -> None:
    engine, plain = Session(built(small, tmp_path / "small.engine")), Session(small, threads=1)
    assert (engine.backend, engine.precision, set(engine.outputs)) == (
        "tensorrt-engine",
        "fp32",
        set(plain.outputs),
    )
    for people in (0, 1, 7, 23):
        crops = np.random.default_rng(people).integers(0, 256, (people, *SIZE, 3)).astype(np.uint8)
        for mine, theirs in zip(
            engine.run(crops, plain.outputs),
            plain.run(crops, plain.outputs) if people else [],
            strict=False,
        ):
            np.testing.assert_allclose(mine, theirs, atol=1e-5)
        assert [len(answer) for answer in engine.run(crops, ["points", "scores"])] == [
            people,
            people,
        ]
    assert nvidia.cuda.waiting == 0
    assert metadata_of(tmp_path / "small.engine")["built_with"] == "TensorRT 10.3.0"


def test_the_builder_is_asked_for_typed_layers_no_tf32_and_one_to_ten_people(
    nvidia: TensorRt, small: Path, tmp_path: Path
) -> None:
    built(small, tmp_path / "small.engine")
    assert nvidia.asked["flags"] == 0b10
    assert nvidia.asked["cleared"] == "tf32"
    assert nvidia.asked["profile"] == {"crops": [(1, *SIZE, 3), (5, *SIZE, 3), (10, *SIZE, 3)]}
    assert nvidia.asked["known"] == b""
    built(small, tmp_path / "again.engine")
    assert nvidia.asked["known"] == b"timings"


def test_half_precision_leaves_the_decoding_in_single(
    nvidia: TensorRt, small: Path, tmp_path: Path
) -> None:
    session = Session(built(small, tmp_path / "half.engine", precision="fp16"))
    assert (session.precision, session.info.precision) == ("fp16", "fp16")
    graph = onnx.shape_inference.infer_shapes(nvidia.asked["onnx"]).graph
    kinds = {
        value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)
    }
    assert kinds["c2_out"] == kinds["d1_out"] == onnx.TensorProto.FLOAT16
    decoding = [
        node for node in graph.node if node.name in ("top", "px", "center", "spread", "score")
    ]
    assert len(decoding) == 5
    assert {kinds[node.input[0]] for node in decoding} == {onnx.TensorProto.FLOAT}
    casts = [node for node in graph.node if node.op_type == "Cast"]
    to_half = [node for node in casts if node.attribute[0].i == onnx.TensorProto.FLOAT16]
    assert len(to_half) == 1  # of the pixels


def test_int8_is_symmetric_with_a_deconvolutions_scales_on_axis_0(
    nvidia: TensorRt, small: Path, tmp_path: Path
) -> None:
    session = Session(
        built(rounded(small, tmp_path / "int8.onnx", "symmetric"), tmp_path / "int8.engine")
    )
    assert session.precision == "int8"
    graph = nvidia.asked["onnx"].graph
    constants = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    pairs = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert len(pairs) > 10
    assert all(
        constants[node.input[2]].dtype == np.int8 and not constants[node.input[2]].any()
        for node in pairs
    )
    maker = {node.output[0]: node for node in graph.node}
    for name, op, channels in (("c2", "Conv", 8), ("d1", "ConvTranspose", 8)):
        node = next(node for node in graph.node if node.name == name)
        assert node.op_type == op
        unpack = maker[node.input[1]]
        assert next(attribute.i for attribute in unpack.attribute if attribute.name == "axis") == 0
        assert constants[unpack.input[1]].shape == (channels,)
        assert constants[node.input[2]].dtype == np.float32  # TensorRT takes no rounded biases


def test_files_that_tensorrt_does_not_take_are_told_before_it_is_asked(
    small: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"rounded with zero points, at .*--scheme symmetric"):
        tensorrt.check_takes(rounded(small, tmp_path / "int8.onnx", "affine"))
    model = onnx.load(str(small))
    model.graph.node[2].op_type, model.graph.node[2].input[1] = "Det", ""
    model.graph.node[2].input.pop()
    (tmp_path / "det.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(
        ValueError,
        match=r"is not for TensorRT: .*Det.*slimpose lint det\.onnx --target tensorrt-10",
    ):
        tensorrt.check_takes(tmp_path / "det.onnx")


@pytest.mark.parametrize("name", ["mnv2", "detector"])
def test_what_ships_is_for_tensorrt(name: str) -> None:
    tensorrt.check_takes(shipped()[name])


def test_what_tensorrt_refuses_is_told_and_nothing_is_left(
    nvidia: TensorRt, small: Path, tmp_path: Path
) -> None:
    nvidia.refuses = "no importer for Foo"
    with pytest.raises(
        ValueError, match=r"TensorRT 10\.3\.0 cannot parse small\.onnx: no importer for Foo"
    ):
        built(small, tmp_path / "new" / "small.engine")
    assert not list((tmp_path / "new").iterdir())


def test_engines_of_other_machines_and_halves_of_one_are_told(
    nvidia: TensorRt, small: Path, tmp_path: Path
) -> None:
    file = built(small, tmp_path / "small.engine")
    with pytest.raises(BackendError, match="is fp32, and TensorRT computes it as it was written"):
        Session(file, precision="fp16")
    nvidia.__version__ = "10.9.0"  # pyright: ignore[reportAttributeAccessIssue]
    file.write_bytes(b"another GPU's")
    with pytest.raises(
        BackendError,
        match=r"no engine for this GPU and TensorRT 10\.9\.0 \(.*built for TensorRT 10\.3",
    ):
        Session(file)
    (tmp_path / "small.engine.json").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"small\.engine\.json; an engine of slimpose export is"
    ):
        Session(file)


def test_old_and_absent_packages_say_what_to_do(
    nvidia: TensorRt, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia.__version__ = "8.6.1"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(
        BackendError, match=r"TensorRT is 8\.6\.1; expected 10 or newer.*JetPack 6\.1"
    ):
        built(small, tmp_path / "small.engine")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendError, match="not installed: pip install tensorrt cuda-python"):
        built(small, tmp_path / "small.engine")
    assert "JetPack" in backends()["tensorrt-engine"].install
    (tmp_path / "a.engine").touch()
    (tmp_path / "a.engine.json").write_text(json.dumps({}))
    with pytest.raises(BackendError, match="not installed"):
        Session(tmp_path / "a.engine")


def test_a_device_without_memory_is_told(nvidia: TensorRt, small: Path, tmp_path: Path) -> None:
    file = built(small, tmp_path / "small.engine")
    nvidia.cuda.cudaMalloc = lambda size: (2, 0)
    with pytest.raises(BackendError, match="CUDA says 2; expected an NVIDIA device"):
        Session(file)


@pytest.mark.usefixtures("nvidia")
def test_the_verb_builds_one_of_a_shipped_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", "mnv2", "--out", str(tmp_path / "mnv2.engine")])
    assert ended.value.code == 0
    assert "of mnv2 on noise" in capsys.readouterr().out
    assert {file.name for file in tmp_path.iterdir()} == {
        "mnv2.engine",
        "mnv2.engine.json",
        "cache",
    }
