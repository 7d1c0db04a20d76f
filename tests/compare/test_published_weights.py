"""Published checkpoints under their own key names, as weights of our nets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from slimpose.arrays import Size
from slimpose.cli.main import main
from slimpose.compare.published_weights import (
    _HALF,
    _IMAGENET,
    _for_our_pixels,
    convert_weights,
    read_checkpoint,
)
from slimpose.network.baselines.net import BaselineNet
from slimpose.network.build import build, spec_named
from slimpose.network.weights import load_checkpoint, load_network
from slimpose.skeleton import COCO17, Skeleton

FILE = Path("pose.pth")
Shapes = dict[str, tuple[int, ...]]

# The published layouts, written down from the repositories' files and not from our nets.


def _norm(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)
    yield f"{name}.num_batches_tracked", ()


def _bottleneck(name: str, inputs: int, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for number, shape in enumerate(
        ((width, inputs, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)), start=1
    ):
        yield f"{name}.conv{number}.weight", shape
        yield from _norm(f"{name}.bn{number}", shape[0])


def _shortcut(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.downsample.0.weight", (outputs, inputs, 1, 1)
    yield from _norm(f"{name}.downsample.1", outputs)


def _module(name: str, widths: list[int], outputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for branch, width in enumerate(widths):
        for block in range(4):
            for layer in (1, 2):
                yield f"{name}.branches.{branch}.{block}.conv{layer}.weight", (width, width, 3, 3)
                yield from _norm(f"{name}.branches.{branch}.{block}.bn{layer}", width)
    for i in range(outputs):
        for j in range(len(widths)):
            fuse = f"{name}.fuse_layers.{i}.{j}"
            if j > i:
                yield f"{fuse}.0.weight", (widths[i], widths[j], 1, 1)
                yield from _norm(f"{fuse}.1", widths[i])
            for step in range(i - j):
                out = widths[i] if step == i - j - 1 else widths[j]
                yield f"{fuse}.{step}.0.weight", (out, widths[j], 3, 3)
                yield from _norm(f"{fuse}.{step}.1", out)


def hrnet_layout(width: int) -> Shapes:
    def parts() -> Iterator[tuple[str, tuple[int, ...]]]:
        yield "conv1.weight", (64, 3, 3, 3)
        yield from _norm("bn1", 64)
        yield "conv2.weight", (64, 64, 3, 3)
        yield from _norm("bn2", 64)
        for block in range(4):
            yield from _bottleneck(f"layer1.{block}", 256 if block else 64, 64)
        yield from _shortcut("layer1.0", 64, 256)
        widths = [width * 2**branch for branch in range(4)]
        yield "transition1.0.0.weight", (widths[0], 256, 3, 3)
        yield from _norm("transition1.0.1", widths[0])
        for name, inputs, outputs in (
            ("transition1.1.0", 256, widths[1]),
            ("transition2.2.0", widths[1], widths[2]),
            ("transition3.3.0", widths[2], widths[3]),
        ):
            yield f"{name}.0.weight", (outputs, inputs, 3, 3)
            yield from _norm(f"{name}.1", outputs)
        yield from _module("stage2.0", widths[:2], 2)
        for module in range(4):
            yield from _module(f"stage3.{module}", widths[:3], 3)
        for module in range(3):
            yield from _module(f"stage4.{module}", widths, 1 if module == 2 else 4)
        yield "final_layer.weight", (17, width, 1, 1)
        yield "final_layer.bias", (17,)

    return dict(parts())


def simple_baseline_layout(blocks: tuple[int, int, int, int]) -> Shapes:
    def parts() -> Iterator[tuple[str, tuple[int, ...]]]:
        yield "conv1.weight", (64, 3, 7, 7)
        yield from _norm("bn1", 64)
        inputs = 64
        for stage, count in enumerate(blocks):
            width = 64 * 2**stage
            for block in range(count):
                yield from _bottleneck(f"layer{stage + 1}.{block}", inputs, width)
                if block == 0:
                    yield from _shortcut(f"layer{stage + 1}.0", inputs, 4 * width)
                inputs = 4 * width
        for place in (0, 3, 6):
            yield f"deconv_layers.{place}.weight", (inputs, 256, 4, 4)
            yield from _norm(f"deconv_layers.{place + 1}", 256)
            inputs = 256
        yield "final_layer.weight", (17, 256, 1, 1)
        yield "final_layer.bias", (17,)

    return dict(parts())


LAYOUTS = {
    "hrnet-w32": hrnet_layout(32),
    "hrnet-w48": hrnet_layout(48),
    "simplebaseline-r50": simple_baseline_layout((3, 4, 6, 3)),
    "simplebaseline-r101": simple_baseline_layout((3, 4, 23, 3)),
    "simplebaseline-r152": simple_baseline_layout((3, 8, 36, 3)),
}


def tensors_of(layout: Shapes) -> dict[str, Tensor]:
    """Every tensor filled with its place in the layout, taking no memory."""
    return {
        name: torch.full((), float(place)).expand(shape) if shape else torch.tensor(place)
        for place, (name, shape) in enumerate(layout.items())
    }


def in_mmpose(tensors: dict[str, Tensor], head: str) -> dict[str, Tensor]:
    return {
        (f"{head}." if name.startswith(("deconv_layers.", "final_layer.")) else "backbone.")
        + name: tensor
        for name, tensor in tensors.items()
    }


def test_the_layouts_hold_the_published_numbers_of_parameters() -> None:
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    found = {
        name: sum(
            torch.Size(shape).numel()
            for key, shape in layout.items()
            if not key.endswith(statistics)
        )
        for name, layout in LAYOUTS.items()
    }
    assert {name: round(count / 1e6, 1) for name, count in found.items()} == {
        "hrnet-w32": 28.5,
        "hrnet-w48": 63.6,
        "simplebaseline-r50": 34.0,
        "simplebaseline-r101": 53.0,
        "simplebaseline-r152": 68.6,
    }


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_published_name_has_its_place(name: str) -> None:
    tensors = tensors_of(LAYOUTS[name])
    loaded = convert_weights(tensors, name, path=FILE, colors="rgb")
    assert len(loaded) == len(tensors)  # none used twice
    places = {int(tensor.flatten()[0]) for tensor in loaded.values()}
    assert places == set(range(len(tensors)))


@pytest.mark.parametrize(
    ("name", "own", "published"),
    [
        ("hrnet-w32", "body.conv1.weight", "conv1.weight"),
        ("hrnet-w32", "body.transition1.0.0.weight", "transition1.0.0.weight"),
        ("hrnet-w32", "body.transition2.2.0.0.weight", "transition2.2.0.0.weight"),
        (
            "hrnet-w32",
            "body.stage2.0.branches.0.0.conv1.weight",
            "stage2.0.branches.0.0.conv1.weight",
        ),
        (
            "hrnet-w32",
            "body.stage2.0.fuse_layers.0.1.0.weight",
            "stage2.0.fuse_layers.0.1.0.weight",
        ),
        (
            "hrnet-w32",
            "body.stage4.0.fuse_layers.3.0.2.0.weight",
            "stage4.0.fuse_layers.3.0.2.0.weight",
        ),
        ("hrnet-w32", "body.final_layer.bias", "final_layer.bias"),
        ("simplebaseline-r50", "encoder.body.conv1.weight", "conv1.weight"),
        ("simplebaseline-r50", "encoder.body.layer4.2.bn3.running_var", "layer4.2.bn3.running_var"),
        ("simplebaseline-r50", "decoder.deconvolutions.1.0.weight", "deconv_layers.3.weight"),
        (
            "simplebaseline-r50",
            "decoder.deconvolutions.2.1.running_mean",
            "deconv_layers.7.running_mean",
        ),
        ("simplebaseline-r50", "to_heatmaps.weight", "final_layer.weight"),
    ],
)
def test_the_layers_are_these(name: str, own: str, published: str) -> None:
    tensors = tensors_of(LAYOUTS[name])
    assert convert_weights(tensors, name, path=FILE, colors="rgb")[own] is tensors[published]


@pytest.mark.parametrize("head", ["keypoint_head", "head"])
@pytest.mark.parametrize("name", ["hrnet-w32", "simplebaseline-r50"])
def test_mmposes_names_are_the_same_behind_its_prefixes(name: str, head: str) -> None:
    tensors = tensors_of(LAYOUTS[name])
    # mmpose trains in RGB, so nothing but the names changes.
    loaded = convert_weights(in_mmpose(tensors, head), name, path=FILE)
    expected = convert_weights(tensors, name, path=FILE, colors="rgb")
    assert all(loaded[own] is tensor for own, tensor in expected.items())


def test_old_files_without_batch_norms_counters_load() -> None:
    old = {
        name: tensor
        for name, tensor in tensors_of(LAYOUTS["simplebaseline-r50"]).items()
        if not name.endswith("num_batches_tracked")
    }
    loaded = convert_weights(old, "simplebaseline-r50", path=FILE)
    assert loaded["encoder.body.bn1.num_batches_tracked"] == 0


@pytest.mark.parametrize(
    "key", ["stage3.2.fuse_layers.1.0.0.0.weight", "final_layer.weight", "bn1.running_var"]
)
def test_a_missing_tensor_is_refused_by_its_published_name(key: str) -> None:
    tensors = tensors_of(LAYOUTS["hrnet-w32"])
    shape = tuple(tensors.pop(key).shape)
    with pytest.raises(ValueError, match=re.escape(f"pose.pth lacks {key} {shape}")):
        convert_weights(tensors, "hrnet-w32", path=FILE)


def test_a_missing_tensor_of_mmposes_is_told_with_its_prefix() -> None:
    tensors = in_mmpose(tensors_of(LAYOUTS["hrnet-w32"]), "head")
    del tensors["head.final_layer.bias"]
    with pytest.raises(ValueError, match=re.escape("pose.pth lacks head.final_layer.bias (17,)")):
        convert_weights(tensors, "hrnet-w32", path=FILE)


def test_a_tensor_too_many_is_refused_by_name() -> None:
    tensors = tensors_of(LAYOUTS["hrnet-w32"]) | {"classifier.weight": torch.zeros(1000, 2048)}
    with pytest.raises(
        ValueError, match=r"pose\.pth holds classifier\.weight, which hrnet-w32 has not"
    ):
        convert_weights(tensors, "hrnet-w32", path=FILE)


def test_a_tensor_of_another_shape_is_refused_by_name() -> None:
    tensors = tensors_of(LAYOUTS["hrnet-w32"]) | {"final_layer.weight": torch.zeros(16, 32, 1, 1)}
    message = "pose.pth: final_layer.weight is (16, 32, 1, 1); hrnet-w32 expects (17, 32, 1, 1)"
    with pytest.raises(ValueError, match=re.escape(message)):
        convert_weights(tensors, "hrnet-w32", path=FILE)
    with pytest.raises(
        ValueError, match=re.escape("(another width, or other joints than COCO's?)")
    ):
        convert_weights(tensors_of(LAYOUTS["hrnet-w48"]), "hrnet-w32", path=FILE)


def test_a_net_without_a_known_layout_is_refused() -> None:
    with pytest.raises(
        ValueError, match="no published layout of 'lpn-50' is known; expected one of hrnet-w32"
    ):
        convert_weights({}, "lpn-50", path=FILE)


@pytest.mark.parametrize(
    ("colors", "normalization"),
    [("bgr", _IMAGENET), ("rgb", _HALF), ("bgr", _HALF), ("rgb", _IMAGENET)],
)
def test_weights_for_other_colors_and_normalizations_compute_the_same(
    colors: str, normalization: tuple[tuple[float, ...], tuple[float, ...]]
) -> None:
    torch.manual_seed(0)
    theirs = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)).eval()
    assert isinstance(theirs[1], nn.BatchNorm2d)
    assert isinstance(theirs[1].running_mean, Tensor)
    nn.init.normal_(theirs[1].running_mean)
    assert colors in ("rgb", "bgr")
    changed = _for_our_pixels(dict(theirs.state_dict()), colors, normalization)
    pixels = torch.rand(1, 3, 9, 9)  # RGB 0..1

    def normalized(images: Tensor, by: tuple[tuple[float, ...], tuple[float, ...]]) -> Tensor:
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in by)
        return (images - mean) / std

    with torch.inference_mode():
        expected = theirs(normalized(pixels if colors == "rgb" else pixels.flip(1), normalization))
        theirs.load_state_dict(changed)
        found = theirs(normalized(pixels, _IMAGENET))
    torch.testing.assert_close(
        found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-5, rtol=1e-4
    )


# files


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: tensors,
        lambda tensors: {"state_dict": tensors, "meta": {"epoch": 210, "config": "x"}},
        lambda tensors: {f"module.{name}": tensor for name, tensor in tensors.items()},
        lambda tensors: {
            "state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}
        },
    ],
    ids=["plain", "state_dict", "DataParallel", "both"],
)
@pytest.mark.parametrize("new_format", [True, False])
def test_a_checkpoint_is_unwrapped(wrap: object, new_format: bool, tmp_path: Path) -> None:
    assert callable(wrap)
    tensors = {"conv1.weight": torch.rand(2, 3), "final_layer.bias": torch.rand(2)}
    path = tmp_path / "pose.pth"
    torch.save(wrap(tensors), path, _use_new_zipfile_serialization=new_format)
    found = read_checkpoint(path)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_a_file_that_brings_code_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "pose.pth"
    torch.save({"state_dict": {"conv1.weight": torch.rand(2)}, "where": FILE}, path)
    with pytest.raises(ValueError, match="cannot be read without running code that it brings"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1.0], "holds a list; expected tensors by name"),
        ({}, "holds a dict; expected tensors by name"),
        ({"epoch": 3}, "holds 'epoch', a int; expected only tensors by name"),
    ],
)
def test_a_file_of_something_else_is_refused(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pose.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_checkpoint(path)


@pytest.mark.parametrize("data", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_what_is_no_checkpoint_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "pose.pth"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_checkpoint(path)


def _run(*words: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(["import-weights", *map(str, words)])
    return int(str(exit_.value.code))


def test_the_verb_makes_weights_that_the_other_verbs_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    tensors = {
        name: torch.rand(shape) if shape else torch.tensor(9)
        for name, shape in LAYOUTS["hrnet-w32"].items()
    }
    file, out = tmp_path / "pose_hrnet_w32_384x288.pth", tmp_path / "teacher.safetensors"
    torch.save(tensors, file)
    assert _run(file, "--net", "hrnet-w32", "--size", "384x288", "--out", out) == 0
    assert "tensors of hrnet-w32 from pose_hrnet_w32_384x288.pth" in capsys.readouterr().out
    loaded = load_network(out)
    assert (loaded.task, loaded.spec) == ("pose", spec_named("hrnet-w32", size=Size(384, 288)))
    assert isinstance(loaded.net, BaselineNet)
    assert loaded.net.alignment == "multiples"
    assert torch.equal(
        loaded.net.state_dict()["body.final_layer.bias"], tensors["final_layer.bias"]
    )
    assert Skeleton.from_json(loaded.metadata["skeleton"]) == COCO17
    assert loaded.metadata["start"].startswith(
        "published weights pose_hrnet_w32_384x288.pth sha256 "
    )


def test_udp_and_colors_can_be_told(tmp_path: Path) -> None:
    file, out = tmp_path / "udp.pth", tmp_path / "teacher.safetensors"
    net = spec_named("lightweight-openpose", size=Size(64, 64))
    tensors = {
        name.removeprefix("body."): tensor for name, tensor in build(net).state_dict().items()
    }
    torch.save({"state_dict": tensors}, file)
    assert (
        _run(
            file,
            "--net",
            "lightweight-openpose",
            "--out",
            out,
            "--alignment",
            "corners",
            "--color-order",
            "rgb",
        )
        == 0
    )
    saved = load_checkpoint(out)
    assert (saved.metadata["task"], saved.metadata["alignment"]) == ("bottom-up", "corners")
    swapped = tmp_path / "bgr.safetensors"
    assert _run(file, "--net", "lightweight-openpose", "--out", swapped) == 0
    first = "body.model.0.0.weight"
    torch.testing.assert_close(
        load_checkpoint(swapped).tensors[first]
        / torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1),
        (saved.tensors[first] / torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)).flip(1),
    )


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ("hrnet-w18", "no network is named 'hrnet-w18'"),
        (
            "b1",
            "no published layout of 'b1' is known; expected one of hrnet-w32, hrnet-w48, simplebaseline-r50",
        ),
        ("hrnet-w32", "lacks conv1.weight (64, 3, 3, 3)"),
    ],
)
def test_bad_input_to_the_verb_writes_nothing(
    net: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "pose.pth", tmp_path / "out.safetensors"
    torch.save({"a": torch.zeros(1)}, file)
    assert _run(file, "--net", net, "--out", out) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
    assert _run(tmp_path / "none.pth", "--net", "hrnet-w32", "--out", out) == 2
    assert "no checkpoint" in capsys.readouterr().err
