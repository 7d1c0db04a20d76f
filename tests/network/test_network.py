from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch
from torch import Tensor, nn

from slimpose.arrays import Size
from slimpose.network.encoder import Encoder
from slimpose.network.family import FAMILY, detector_of, family_spec
from slimpose.network.imagenet import _match_normalization
from slimpose.network.pose_net import PoseNet
from slimpose.network.spec import NetSpec
from slimpose.network.trunk import import_trunk, unfold_batch_norm

SMALL = NetSpec(
    encoder="mobilenetv2_100",
    width_multiplier=0.35,
    head_width=16,
    deconv_widths=(16, 16, 16),
    size=Size(64, 64),
)
"""A member of the family that a test can afford."""


def crops(n: int = 1, size: Size = SMALL.size) -> Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (n, *size, 3)).astype(np.uint8))


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# known values


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("b1", 6_167_905),  # the paper's net, counted without its tool's double counting
        ("lite1", 3_790_401),  # the same without squeeze-and-excite, timm's lite widths
        ("mnv2", 1_878_593),  # the shipped default
    ],
)
def test_a_member_has_the_tables_parameters(name: str, expected: int) -> None:
    assert parameters(PoseNet(family_spec(name))) == expected


def test_heatmaps_are_a_quarter_of_the_crop_and_one_a_joint() -> None:
    net = PoseNet(SMALL).eval()
    with torch.inference_mode():
        assert net(crops(2, Size(64, 96))).shape == (
            2,
            17,
            16,
            24,
        )  # any multiple of 32, not only the spec's
    assert SMALL.heatmap_size == Size(16, 16)


def test_an_untrained_net_gives_nearly_empty_maps() -> None:
    # All-zero maps cost 1 a joint: a start near them is what keeps the first steps calm.
    with torch.inference_mode():
        assert PoseNet(SMALL).eval()(crops()).abs().max() < 0.2


def test_strides_follow_from_the_deconvolutions() -> None:
    assert family_spec("b1").stride == 4
    assert detector_of(family_spec("b1")).stride == 8
    assert NetSpec(encoder="resnet18", encoder_stride=16, deconv_widths=(32, 32)).stride == 4


@pytest.mark.parametrize("skip", ["none", "concat", "sum"])
def test_every_skip_builds_and_keeps_the_output_size(skip: str) -> None:
    net = PoseNet(_with(skip=skip)).eval()
    with torch.inference_mode():
        assert net(crops()).shape == (1, 17, 16, 16)
    assert len(net.decoder.skips) == (0 if skip == "none" else 2)  # strides 16 and 8


def test_every_skip_is_used() -> None:
    for skip in ("concat", "sum"):
        net = PoseNet(_with(skip=skip)).eval()
        net(crops()).square().sum().backward()
        for convolution in net.decoder.skips:
            assert isinstance(convolution, nn.Conv2d)
            assert convolution.weight.grad is not None
            assert convolution.weight.grad.abs().sum() > 0


def test_an_encoder_cut_at_stride_16_is_the_same_one_without_its_end() -> None:
    whole = Encoder(family_spec("b0")).body.state_dict()
    cut = Encoder(
        NetSpec(encoder="tf_efficientnet_b0", encoder_stride=16, deconv_widths=(32, 32))
    ).body.state_dict()
    assert cut.keys() < whole.keys()
    assert all(cut[name].shape == whole[name].shape for name in cut)
    assert not any(name.startswith(("blocks.5", "blocks.6")) for name in cut)


def test_the_papers_two_level_net_has_the_tables_size() -> None:
    # Table V, 2 levels: 1.25 M parameters fit the encoder cut at stride 16, and nothing else does.
    two_levels = NetSpec(encoder="tf_efficientnet_b1", encoder_stride=16, deconv_widths=(32, 32))
    assert parameters(PoseNet(two_levels)) == pytest.approx(1.25e6, rel=0.01)


def test_without_squeeze_and_excite_no_such_layer_is_left() -> None:
    def squeezes(spec: NetSpec) -> int:
        return sum("Squeeze" in type(module).__name__ for module in PoseNet(spec).modules())

    b0 = family_spec("b0")
    without = NetSpec(encoder=b0.encoder, squeeze_excite=False)
    assert squeezes(b0) == 16  # one a block
    assert squeezes(without) == 0
    assert parameters(PoseNet(without)) < parameters(PoseNet(b0))
    with torch.inference_mode():
        assert PoseNet(without).eval()(crops()).shape == (1, 17, 16, 16)


@pytest.mark.parametrize(
    ("activation", "kind"), [("relu", nn.ReLU), ("relu6", nn.ReLU6), ("hard-swish", nn.Hardswish)]
)
def test_every_activation_of_the_encoder_is_replaced(
    activation: str, kind: type[nn.Module]
) -> None:
    activations = (nn.SiLU, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.GELU)
    encoder = Encoder(
        _with(encoder="tf_efficientnet_b0", width_multiplier=1.0, activation=activation)
    )
    kinds = {type(module) for module in encoder.modules() if isinstance(module, activations)}
    assert kinds == {kind}


def test_pixels_are_normalized_as_the_encoder_was_trained() -> None:
    mobile = Encoder(SMALL)
    assert mobile.mean_pixel.flatten().tolist() == [127.5] * 3
    assert mobile.std_pixel.flatten().tolist() == [127.5] * 3
    resnet = Encoder(family_spec("r18"))
    assert resnet.mean_pixel.flatten().tolist() == pytest.approx(
        [255 * 0.485, 255 * 0.456, 255 * 0.406]
    )


# properties


def test_a_batch_gives_what_each_crop_gives_alone() -> None:
    net = PoseNet(SMALL).eval()
    batch = crops(3)
    with torch.inference_mode():
        together = net(batch)
        alone = torch.cat([net(batch[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", FAMILY)
def test_a_spec_survives_a_files_metadata(name: str) -> None:
    spec = family_spec(name, size=Size(128, 96))
    assert NetSpec.from_json(spec.to_json()) == spec


# errors


@pytest.mark.parametrize("size", [Size(250, 192), Size(256, 190), Size(0, 192), Size(16, 16)])
def test_a_size_that_is_no_multiple_of_the_stride_is_refused(size: Size) -> None:
    message = f"input size {size} is not a multiple of the encoder's stride 32; expected for example 128x96"
    with pytest.raises(ValueError, match=re.escape(message)):
        family_spec("b1", size=size)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_stride": 8}, "encoder_stride is 8; expected 16 or 32"),
        ({"deconv_widths": ()}, "0 deconvolutions behind an encoder of stride 32; expected 1 to 5"),
        (
            {"deconv_widths": (8,) * 6},
            "6 deconvolutions behind an encoder of stride 32; expected 1 to 5",
        ),
    ],
)
def test_a_net_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        _with(**changes)


def test_an_unknown_member_is_answered_with_the_known() -> None:
    with pytest.raises(ValueError, match=re.escape("no net is named 'b9'; expected one of b0, b1")):
        family_spec("b9")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"encoder": "x", "size": [32, 32], "deconv_widths": [8], "color": 1}'],
)
def test_metadata_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="metadata does not describe a slimpose net"):
        NetSpec.from_json(text)


def test_a_width_multiplier_on_another_encoder_is_refused() -> None:
    with pytest.raises(
        ValueError, match=re.escape("width_multiplier 2 needs mobilenetv2_100, got 'resnet18'")
    ):
        Encoder(NetSpec(encoder="resnet18", width_multiplier=2.0))


def _with(**changes: object) -> NetSpec:
    fields = json.loads(SMALL.to_json()) | changes
    return NetSpec.from_json(json.dumps(fields))


# a start from a published graph


def lively_encoder(seed: int) -> Encoder:
    """An encoder whose batch norms have something to fold."""
    torch.manual_seed(seed)
    encoder = Encoder(SMALL).eval()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.weight, 0.6, 1.4)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return encoder


def folded(encoder: Encoder) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Name, weight and bias of every convolution in graph order, its batch norm folded in."""
    layers: list[tuple[str, np.ndarray, np.ndarray]] = []
    convolution: tuple[str, nn.Conv2d] | None = None
    for name, module in encoder.body.named_modules():
        if isinstance(module, nn.Conv2d):
            convolution = name, module
        elif isinstance(module, nn.BatchNorm2d):
            assert convolution is not None
            assert module.running_mean is not None
            assert module.running_var is not None
            scale = module.weight / torch.sqrt(module.running_var + module.eps)
            weight = convolution[1].weight * scale[:, None, None, None]
            bias = module.bias - scale * module.running_mean
            layers.append((convolution[0], weight.detach().numpy(), bias.detach().numpy()))
    return layers


def write_graph(
    layers: list[tuple[str, np.ndarray, np.ndarray]], path: Path, *, half: bool = False
) -> Path:
    """Write a chain of biased convolutions; ``half``: float16 behind a Cast, as in published files."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, last = [], [], "input"
    for i, (name, weight, bias) in enumerate(layers):
        kind = np.float16 if half else np.float32
        inputs = [last]
        for part, values in (("w", weight), ("b", bias)):
            constants.append(numpy_helper.from_array(values.astype(kind), f"{part}{i}"))
            inputs.append(f"{part}{i}")
            if half:
                nodes.append(
                    helper.make_node(
                        "Cast", [f"{part}{i}"], [f"{part}{i}_cast"], to=TensorProto.FLOAT
                    )
                )
                inputs[-1] = f"{part}{i}_cast"
        nodes.append(helper.make_node("Conv", inputs, [f"out{i}"], name=name))
        last = f"out{i}"
    graph = helper.make_graph(
        nodes,
        "trunk",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
        constants,
    )
    onnx.save(helper.make_model(graph), str(path))
    return path


def features(encoder: Encoder, batch: Tensor) -> Tensor:
    with torch.no_grad():
        return encoder(batch.permute(0, 3, 1, 2).float())[-1]


def test_a_folded_graph_gives_the_same_features_as_the_net_it_was_made_from(tmp_path: Path) -> None:
    original, started = lively_encoder(1), Encoder(SMALL).eval()
    import_trunk(write_graph(folded(original), tmp_path / "trunk.onnx"), started)
    torch.testing.assert_close(
        features(started, crops(2)), features(original, crops(2)), atol=1e-3, rtol=1e-3
    )


def test_half_precision_weights_behind_a_cast_are_found(tmp_path: Path) -> None:
    original, started = lively_encoder(2), Encoder(SMALL).eval()
    import_trunk(write_graph(folded(original), tmp_path / "trunk.onnx", half=True), started)
    expected = features(original, crops(2))
    torch.testing.assert_close(
        features(started, crops(2)), expected, atol=0.02 * float(expected.abs().max()), rtol=0.05
    )


def test_what_follows_the_trunk_in_the_graph_is_ignored(tmp_path: Path) -> None:
    original, started = lively_encoder(3), Encoder(SMALL).eval()
    head = ("head", np.zeros((5, 7, 3, 3), np.float32), np.zeros(5, np.float32))
    import_trunk(write_graph([*folded(original), head], tmp_path / "trunk.onnx"), started)
    torch.testing.assert_close(
        features(started, crops(1)), features(original, crops(1)), atol=1e-3, rtol=1e-3
    )


def test_unfolding_keeps_the_function_and_makes_training_mode_compute_it_too(
    tmp_path: Path,
) -> None:
    original, started = lively_encoder(4), Encoder(SMALL).eval()
    import_trunk(write_graph(folded(original), tmp_path / "trunk.onnx"), started)
    batch = crops(16)
    before = features(started, batch)
    spread = float(before.std())
    in_training_before = features(started.train(), batch)
    import_trunk(tmp_path / "trunk.onnx", started)  # that forward pass moved the running statistics
    unfold_batch_norm(started, [batch[:8], batch[8:]])
    assert started.training  # as it was
    torch.testing.assert_close(
        features(started.eval(), batch), before, atol=2e-3 * spread, rtol=2e-3
    )
    in_training = features(started.train(), batch)
    assert float((in_training - before).abs().mean()) < 0.02 * spread
    assert (
        float((in_training_before - before).abs().mean()) > 0.2 * spread
    )  # why unfolding is needed


def test_a_layer_that_differs_is_refused_by_name(tmp_path: Path) -> None:
    layers = folded(lively_encoder(5))
    name, weight, bias = layers[3]
    layers[3] = (name, np.zeros((weight.shape[0] + 8, *weight.shape[1:]), np.float32), bias)
    path = write_graph(layers, tmp_path / "trunk.onnx")
    with pytest.raises(
        ValueError, match=re.escape(f"{path} does not fit: convolution 3 ({name}) has weights")
    ) as caught:
        import_trunk(path, Encoder(SMALL))
    assert f"expected {weight.shape} for {name} (another width, or another network?)" in str(
        caught.value
    )


def test_a_graph_that_ends_too_early_is_refused_with_what_comes_next(tmp_path: Path) -> None:
    layers = folded(lively_encoder(6))
    path = write_graph(layers[:10], tmp_path / "trunk.onnx")
    message = f"it ends after 10 biased convolutions; expected {len(layers)}, next {layers[10][0]}"
    with pytest.raises(ValueError, match=re.escape(message)):
        import_trunk(path, Encoder(SMALL))


def test_a_refused_graph_leaves_the_encoder_as_it_was(tmp_path: Path) -> None:
    encoder = lively_encoder(7)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    path = write_graph(folded(lively_encoder(8))[:10], tmp_path / "trunk.onnx")
    with pytest.raises(ValueError, match="does not fit"):
        import_trunk(path, encoder)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trunk.onnx"
    path.write_bytes(b"\xff no graph")
    with pytest.raises(ValueError, match=re.escape(f"{path} is not an ONNX file")):
        import_trunk(path, Encoder(SMALL))


def test_weights_made_for_another_normalization_compute_the_same() -> None:
    spec = family_spec("mnv2", size=Size(64, 64))
    encoder = Encoder(spec).eval()
    config = timm.get_pretrained_cfg(spec.encoder)
    assert config is not None
    theirs = timm.create_model(
        spec.encoder, features_only=True, out_indices=(1,), pad_type="same"
    ).eval()
    theirs.load_state_dict({name: encoder.body.state_dict()[name] for name in theirs.state_dict()})
    _match_normalization(encoder, spec)
    images = torch.rand(2, 3, 64, 64) * 255
    mean, std = (
        255 * torch.tensor(values).view(1, 3, 1, 1) for values in (config.mean, config.std)
    )
    with torch.inference_mode():
        expected, found = theirs((images - mean) / std)[0], encoder(images)[0]
    torch.testing.assert_close(
        found[..., 4:-4, 4:-4], expected[..., 4:-4, 4:-4], atol=1e-4, rtol=1e-3
    )
