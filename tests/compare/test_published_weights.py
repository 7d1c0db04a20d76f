"""Published checkpoints under their own tensor names, converted to weights of our networks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from published_layouts import LAYOUTS, tensors_of
from slimpose.compare.published_weights import (
    HALF_RANGE_NORMALIZATION,
    IMAGENET_NORMALIZATION,
    adapt_first_layer,
    convert_weights,
    read_checkpoint,
)

FILE = Path("pose.pth")
W32, R50 = "hrnet-w32", "simplebaseline-r50"


def in_mmpose(tensors: dict[str, Tensor], head: str) -> dict[str, Tensor]:
    return {
        (f"{head}." if name.startswith(("deconv_layers.", "final_layer.")) else "backbone.")
        + name: tensor
        for name, tensor in tensors.items()
    }


def test_layouts_have_the_published_numbers_of_parameters() -> None:
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    counts = {
        name: sum(
            torch.Size(shape).numel()
            for key, shape in layout.items()
            if not key.endswith(statistics)
        )
        for name, layout in LAYOUTS.items()
    }
    assert {name: round(count / 1e6, 1) for name, count in counts.items()} == {
        "hrnet-w32": 28.5,
        "hrnet-w48": 63.6,
        "simplebaseline-r50": 34.0,
        "simplebaseline-r101": 53.0,
        "simplebaseline-r152": 68.6,
    }


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_published_tensor_is_used_once(name: str) -> None:
    tensors = tensors_of(LAYOUTS[name])
    loaded = convert_weights(tensors, name, path=FILE, color_order="rgb")
    assert len(loaded) == len(tensors)
    indices = {int(tensor.flatten()[0]) for tensor in loaded.values()}
    assert indices == set(range(len(tensors)))


@pytest.mark.parametrize(
    ("name", "own", "published"),
    [
        (W32, "body.conv1.weight", "conv1.weight"),
        (W32, "body.transition1.0.0.weight", "transition1.0.0.weight"),
        (W32, "body.transition2.2.0.0.weight", "transition2.2.0.0.weight"),
        (W32, "body.stage2.0.branches.0.0.conv1.weight", "stage2.0.branches.0.0.conv1.weight"),
        (W32, "body.stage2.0.fuse_layers.0.1.0.weight", "stage2.0.fuse_layers.0.1.0.weight"),
        (W32, "body.stage4.0.fuse_layers.3.0.2.0.weight", "stage4.0.fuse_layers.3.0.2.0.weight"),
        (W32, "body.final_layer.bias", "final_layer.bias"),
        (R50, "encoder.body.conv1.weight", "conv1.weight"),
        (R50, "encoder.body.layer4.2.bn3.running_var", "layer4.2.bn3.running_var"),
        (R50, "decoder.deconvolutions.1.0.weight", "deconv_layers.3.weight"),
        (R50, "decoder.deconvolutions.2.1.running_mean", "deconv_layers.7.running_mean"),
        (R50, "to_heatmaps.weight", "final_layer.weight"),
    ],
)
def test_layers_have_these_published_names(name: str, own: str, published: str) -> None:
    tensors = tensors_of(LAYOUTS[name])
    assert convert_weights(tensors, name, path=FILE, color_order="rgb")[own] is tensors[published]


@pytest.mark.parametrize("head", ["keypoint_head", "head"])
@pytest.mark.parametrize("name", ["hrnet-w32", "simplebaseline-r50"])
def test_mmpose_names_are_the_same_with_a_prefix(name: str, head: str) -> None:
    tensors = tensors_of(LAYOUTS[name])
    # mmpose trains in RGB, so nothing but the names changes.
    loaded = convert_weights(in_mmpose(tensors, head), name, path=FILE)
    expected = convert_weights(tensors, name, path=FILE, color_order="rgb")
    assert all(loaded[own] is tensor for own, tensor in expected.items())


def test_old_files_without_batch_norm_counters_load() -> None:
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
def test_missing_tensor_is_reported_by_its_published_name(key: str) -> None:
    tensors = tensors_of(LAYOUTS["hrnet-w32"])
    shape = tuple(tensors.pop(key).shape)
    with pytest.raises(ValueError, match=re.escape(f"pose.pth lacks {key} {shape}")):
        convert_weights(tensors, "hrnet-w32", path=FILE)


def test_missing_tensor_of_mmpose_is_reported_with_its_prefix() -> None:
    tensors = in_mmpose(tensors_of(LAYOUTS["hrnet-w32"]), "head")
    del tensors["head.final_layer.bias"]
    with pytest.raises(ValueError, match=re.escape("pose.pth lacks head.final_layer.bias (17,)")):
        convert_weights(tensors, "hrnet-w32", path=FILE)


def test_unexpected_tensor_is_rejected() -> None:
    tensors = tensors_of(LAYOUTS["hrnet-w32"]) | {"classifier.weight": torch.zeros(1000, 2048)}
    with pytest.raises(
        ValueError, match=r"pose\.pth holds classifier\.weight, which hrnet-w32 does not have"
    ):
        convert_weights(tensors, "hrnet-w32", path=FILE)


def test_tensor_of_another_shape_is_rejected() -> None:
    tensors = tensors_of(LAYOUTS["hrnet-w32"]) | {"final_layer.weight": torch.zeros(16, 32, 1, 1)}
    message = "pose.pth: final_layer.weight is (16, 32, 1, 1); hrnet-w32 expects (17, 32, 1, 1)"
    with pytest.raises(ValueError, match=re.escape(message)):
        convert_weights(tensors, "hrnet-w32", path=FILE)
    with pytest.raises(
        ValueError, match=re.escape("(another width, or other joints than COCO's?)")
    ):
        convert_weights(tensors_of(LAYOUTS["hrnet-w48"]), "hrnet-w32", path=FILE)


def test_network_without_a_known_layout_is_rejected() -> None:
    with pytest.raises(
        ValueError, match="no published layout of 'lpn-50' is known; expected one of hrnet-w32"
    ):
        convert_weights({}, "lpn-50", path=FILE)


@pytest.mark.parametrize(
    ("colors", "normalization"),
    [
        ("bgr", IMAGENET_NORMALIZATION),
        ("rgb", HALF_RANGE_NORMALIZATION),
        ("bgr", HALF_RANGE_NORMALIZATION),
        ("rgb", IMAGENET_NORMALIZATION),
    ],
)
def test_adapted_first_layer_computes_the_same(
    colors: str, normalization: tuple[tuple[float, ...], tuple[float, ...]]
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)).eval()
    assert isinstance(net[1], nn.BatchNorm2d)
    assert isinstance(net[1].running_mean, Tensor)
    nn.init.normal_(net[1].running_mean)
    assert colors in ("rgb", "bgr")
    changed = adapt_first_layer(dict(net.state_dict()), colors, normalization)
    pixels = torch.rand(1, 3, 9, 9)  # RGB 0..1

    def normalized(images: Tensor, by: tuple[tuple[float, ...], tuple[float, ...]]) -> Tensor:
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in by)
        return (images - mean) / std

    with torch.inference_mode():
        expected = net(normalized(pixels if colors == "rgb" else pixels.flip(1), normalization))
        net.load_state_dict(changed)
        result = net(normalized(pixels, IMAGENET_NORMALIZATION))
    torch.testing.assert_close(
        result[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-5, rtol=1e-4
    )


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
def test_checkpoint_is_unwrapped(wrap: object, new_format: bool, tmp_path: Path) -> None:
    assert callable(wrap)
    tensors = {"conv1.weight": torch.rand(2, 3), "final_layer.bias": torch.rand(2)}
    path = tmp_path / "pose.pth"
    torch.save(wrap(tensors), path, _use_new_zipfile_serialization=new_format)
    loaded = read_checkpoint(path)
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "pose.pth"
    torch.save({"state_dict": {"conv1.weight": torch.rand(2)}, "where": FILE}, path)
    with pytest.raises(ValueError, match="cannot be read without running code that it contains"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1.0], "holds a list; expected tensors by name"),
        ({}, "holds a dict; expected tensors by name"),
        ({"epoch": 3}, "holds 'epoch', a int; expected only tensors by name"),
    ],
)
def test_file_of_other_content_is_rejected(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pose.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_checkpoint(path)


@pytest.mark.parametrize("data", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_file_that_is_not_a_checkpoint_is_rejected(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "pose.pth"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_checkpoint(path)
