"""Initializing an encoder from a published ONNX graph."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from slimpose.network.encoder import Encoder
from slimpose.network.published.movenet import import_trunk, unfold_batch_norm
from small_network import SMALL, crops


def random_encoder(seed: int) -> Encoder:
    """An encoder whose batch norms are not identities."""
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
    """Name, weight and bias of every convolution in graph order, with batch norm folded."""
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
    """Write a chain of biased convolutions; ``half``: float16 and Cast, as in published files."""
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


HEAD = ("head", np.zeros((5, 7, 3, 3), np.float32), np.zeros(5, np.float32))


@pytest.mark.parametrize(
    ("half", "after"),
    [(False, []), (True, []), (False, [HEAD])],
    ids=["single precision", "half precision behind a cast", "layers after it are ignored"],
)
def test_imported_encoder_computes_the_graphs_features(
    half: bool, after: list[tuple[str, np.ndarray, np.ndarray]], tmp_path: Path
) -> None:
    original, imported = random_encoder(1), Encoder(SMALL).eval()
    path = write_graph([*folded(original), *after], tmp_path / "trunk.onnx", half=half)
    import_trunk(path, imported)
    expected = features(original, crops(2))
    atol, rtol = (0.02 * float(expected.abs().max()), 0.05) if half else (1e-3, 1e-3)
    torch.testing.assert_close(features(imported, crops(2)), expected, atol=atol, rtol=rtol)


def test_unfolding_keeps_the_function_in_both_modes(tmp_path: Path) -> None:
    original, imported = random_encoder(4), Encoder(SMALL).eval()
    import_trunk(write_graph(folded(original), tmp_path / "trunk.onnx"), imported)
    batch = crops(16)
    before = features(imported, batch)
    spread = float(before.std())
    in_training_before = features(imported.train(), batch)
    # That forward pass moved the running statistics.
    import_trunk(tmp_path / "trunk.onnx", imported)
    unfold_batch_norm(imported, [batch[:8], batch[8:]])
    assert imported.training  # as before
    torch.testing.assert_close(
        features(imported.eval(), batch), before, atol=2e-3 * spread, rtol=2e-3
    )
    in_training = features(imported.train(), batch)
    assert float((in_training - before).abs().mean()) < 0.02 * spread
    not_unfolded = float((in_training_before - before).abs().mean())
    assert not_unfolded > 0.2 * spread  # why unfolding is needed


def test_layer_of_another_shape_is_rejected_by_name(tmp_path: Path) -> None:
    layers = folded(random_encoder(5))
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


def test_truncated_graph_is_rejected_with_the_next_layer(tmp_path: Path) -> None:
    layers = folded(random_encoder(6))
    path = write_graph(layers[:10], tmp_path / "trunk.onnx")
    message = f"it ends after 10 biased convolutions; expected {len(layers)}, next {layers[10][0]}"
    with pytest.raises(ValueError, match=re.escape(message)):
        import_trunk(path, Encoder(SMALL))


def test_rejected_graph_does_not_change_the_encoder(tmp_path: Path) -> None:
    encoder = random_encoder(7)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    path = write_graph(folded(random_encoder(8))[:10], tmp_path / "trunk.onnx")
    with pytest.raises(ValueError, match="does not fit"):
        import_trunk(path, encoder)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_file_that_is_not_a_graph_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "trunk.onnx"
    path.write_bytes(b"\xff no graph")
    with pytest.raises(ValueError, match=re.escape(f"{path} is not an ONNX file")):
        import_trunk(path, Encoder(SMALL))
