from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from foreign_models import CROPS, JOINTS_PX, SIZE, save_graph, write_heatmaps
from slimpose.adapters.heatmap_net import HeatmapNet
from slimpose.geometry import CellAlignment


@pytest.mark.parametrize("alignment", ["multiples", "corners", "centers"])
def test_heatmaps_are_decoded_by_their_alignment(tmp_path: Path, alignment: CellAlignment) -> None:
    model = HeatmapNet(write_heatmaps(tmp_path / "net.onnx", alignment), alignment=alignment)
    points, scores, covariances = model.run(CROPS, ("points", "scores", "covariances"))
    np.testing.assert_allclose(points, np.tile(JOINTS_PX, (3, 1, 1)), atol=0.2)
    assert (scores > 0.7).all()
    step = 47 / 11 if alignment == "corners" else 4.0
    # The Gaussian's own covariance: 2 cells.
    assert covariances[0, 8, 0, 0] == pytest.approx((2 * step) ** 2, rel=0.2)


def test_input_is_normalized_rgb(tmp_path: Path) -> None:
    """Each heatmap is a channel's mean over 4x4 pixels: blue for the second joint, else red."""
    weights = np.zeros((17, 3, 4, 4), np.float32)
    weights[:, 0] = 1 / 16
    weights[1] = 0
    weights[1, 2] = 1 / 16
    path = save_graph(
        tmp_path / "net.onnx",
        [helper.make_node("Conv", ["image", "weights"], ["maps"], strides=[4, 4])],
        {"weights": weights},
        image=(TensorProto.FLOAT, ["n", 3, *SIZE]),
        outputs={"maps": ["n", 17, 16, 12]},
    )
    crop = np.zeros((1, *SIZE, 3), np.uint8)
    crop[0, 32:36, 20:24] = [166, 0, 0]  # (166 - 123.675) / 58.395 = 0.72
    crop[0, 12:16, 8:12] = [0, 0, 146]  # (146 - 103.53) / 57.375 = 0.74
    points, scores = HeatmapNet(path).run(crop, ("points", "scores"))
    np.testing.assert_allclose(points[0, :2], [[20, 32], [8, 12]], atol=4.1)
    np.testing.assert_allclose(scores[0, :2], [0.725, 0.740], atol=0.002)
