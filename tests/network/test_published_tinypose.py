from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from shuffle_pose import ShufflePose, export_graph
from slimpose.arrays import Size
from slimpose.network.high_resolution import HighResolutionNet, HighResolutionSpec
from slimpose.network.published.tinypose import ALIGNMENT, TINYPOSE, import_tinypose

PUBLISHED = Path("../shared/peers/tinypose-256x192.onnx")
SPEC = HighResolutionSpec(
    widths=(8, 12, 16),
    inner_widths=(4, 6, 8),
    modules=(2, 2),
    stem_width=8,
    size=Size(64, 64),
    joints=5,
)


def heatmaps(net: HighResolutionNet, images: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return net.to_heatmaps(net.features(images)).numpy()


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("published") / "shuffle.onnx"
    return export_graph(ShufflePose(SPEC), torch.zeros(1, 3, 64, 64), path)


def test_function_of_the_graph_is_kept(graph: Path) -> None:
    net = HighResolutionNet(SPEC, ALIGNMENT).eval()
    import_tinypose(graph, net)
    images = torch.randn(1, 3, 64, 64)
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    expected = np.asarray(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(heatmaps(net, images), expected, atol=1e-5)


def test_graph_of_other_widths_is_rejected(graph: Path) -> None:
    net = HighResolutionNet(TINYPOSE, ALIGNMENT)
    with pytest.raises(ValueError, match=r"is not PP-TinyPose's graph: 0 paths of convolutions"):
        import_tinypose(graph, net)


def test_other_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("not a graph")
    with pytest.raises(ValueError, match="is not an ONNX file"):
        import_tinypose(path, HighResolutionNet(TINYPOSE, ALIGNMENT))


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="needs the published file")
def test_published_function_is_kept() -> None:
    net = HighResolutionNet(TINYPOSE, ALIGNMENT).eval()
    import_tinypose(PUBLISHED, net)
    images = torch.randn(1, 3, 256, 192)
    session = onnxruntime.InferenceSession(str(PUBLISHED), providers=["CPUExecutionProvider"])
    expected = np.asarray(session.run(None, {"image": images.numpy()})[0])
    np.testing.assert_allclose(heatmaps(net, images), expected, atol=1e-4)
