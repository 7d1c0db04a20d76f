from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from foreign_models import save_graph
from slimpose.adapters.open_model import open_model
from slimpose.adapters.tf_pose import TfPose
from slimpose.arrays import Size


def tf_pose_graph(path: Path, maps: int = 57) -> Path:
    """Write a channels-last graph of free size: map 0 is blue, map 1 red, all others 0."""
    weight = np.zeros((maps, 3, 8, 8), np.float32)
    weight[0, 0], weight[1, 2] = 1 / 64 / 255, 1 / 64 / 255
    nodes = [
        helper.make_node("Transpose", ["image"], ["channels_first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["channels_first", "weight"], ["cells"], strides=[8, 8]),
        helper.make_node("Transpose", ["cells"], ["maps"], perm=[0, 2, 3, 1]),
    ]
    return save_graph(
        path,
        nodes,
        {"weight": weight},
        image=(TensorProto.FLOAT, ["n", "h", "w", 3]),
        outputs={"maps": ["n", "h8", "w8", maps]},
    )


def test_input_is_bgr_and_maps_are_split(tmp_path: Path) -> None:
    """The file is ONNX, which OpenVINO reads like .pb; the adapter checks the shapes only."""
    model = TfPose(tf_pose_graph(tmp_path / "graph.onnx"), threads=1)
    assert (model.info.task, model.info.size, model.info.stride) == ("bottom-up", Size(368, 432), 8)
    images = np.zeros((2, 368, 432, 3), np.uint8)
    images[1, 80:88, 160:168] = (255, 0, 51)  # RGB
    heatmaps, affinities = model.run(images, ("heatmaps", "affinities"))
    assert (heatmaps.shape, affinities.shape) == ((2, 18, 46, 54), (2, 38, 46, 54))
    assert heatmaps[1, :2, 10, 20] == pytest.approx([0.2, 1.0], abs=1e-5)
    assert heatmaps[0].max() == 0
    with pytest.raises(ValueError, match="has no output points"):
        model.run(images, ("points",))
    with pytest.raises(ValueError, match=r"expected tf-pose's images .* and 57 maps"):
        TfPose(tf_pose_graph(tmp_path / "other.onnx", maps=20))
    (tmp_path / "graph.pb").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"graph\.pb cannot be read by OpenVINO"):
        open_model(tmp_path / "graph.pb")
