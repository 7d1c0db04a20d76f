from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slimpose import heatmap
from slimpose.arrays import Size
from slimpose.geometry import heatmap_to_crop
from slimpose.runtime.backends.heatmap_decoding import OUTPUTS, decode_outputs, input_shape


def test_heatmaps_are_decoded_as_in_an_onnx_graph() -> None:
    center = np.array([[[7.3, 9.6], [11.0, 4.5]]], np.float32)
    maps = heatmap.encode(center, Size(24, 16), sigma_px=2.0)
    points, scores, covariances, same = decode_outputs(maps, {"stride": "4"}, OUTPUTS)
    np.testing.assert_allclose(points, heatmap_to_crop(center, 4), atol=0.01)
    np.testing.assert_allclose(scores, 1, atol=0.05)
    np.testing.assert_allclose(covariances[0, 0], np.eye(2) * (2.0 * 4) ** 2, atol=1.0)
    assert same is maps


@pytest.mark.parametrize("name", ["net.tflite", "net.ncnn.param"])
def test_detector_is_rejected(name: str) -> None:
    metadata = {"height": "64", "width": "48", "stride": "4", "task": "detect"}
    with pytest.raises(ValueError, match="task is 'detect'; expected 'pose'"):
        input_shape(metadata, Path(name))
