"""The torch decoder of the exported graph matches the NumPy reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from slimpose import geometry, heatmap
from slimpose.arrays import Size
from slimpose.network.dark import DarkDecoder
from slimpose.network.spec import NetSpec

SPEC = NetSpec(encoder="mobilenetv2_100", size=Size(128, 96))


def both(heatmaps: np.ndarray) -> tuple[heatmap.Decoded, list[np.ndarray]]:
    """The results of the reference and of the module."""
    return heatmap.decode(heatmaps), [
        output.numpy() for output in DarkDecoder(SPEC)(torch.from_numpy(heatmaps))
    ]


@pytest.mark.parametrize("kind", ["gaussians", "noise", "flat", "empty", "negative", "two peaks"])
def test_module_matches_the_reference(kind: str) -> None:
    rng = np.random.default_rng(3)
    points = rng.uniform(0, (23, 31), (4, 17, 2)).astype(np.float32)
    maps = {
        "gaussians": heatmap.encode(points, SPEC.heatmap_size, sigma_px=1.0),
        "noise": rng.normal(0, 0.1, (4, 17, 32, 24)).astype(np.float32),
        "flat": np.full((4, 17, 32, 24), 0.5, np.float32),
        "empty": np.zeros((4, 17, 32, 24), np.float32),
        "negative": -rng.random((4, 17, 32, 24), np.float32),
        "two peaks": heatmap.encode(points, SPEC.heatmap_size, sigma_px=1.0)
        + heatmap.encode(points[::-1].copy(), SPEC.heatmap_size, sigma_px=1.5),
    }[kind]
    reference, (points_crop, scores, covariances) = both(maps)
    np.testing.assert_allclose(
        points_crop, geometry.heatmap_to_crop(reference.points_heatmap, 4), atol=5e-3
    )
    np.testing.assert_allclose(scores, reference.scores, atol=1e-6)
    np.testing.assert_allclose(
        covariances, 16 * reference.covariances_heatmap, rtol=2e-3, atol=1e-2
    )


def test_heatmap_smaller_than_the_window_is_rejected() -> None:
    with pytest.raises(ValueError, match="at least 5x5"):
        DarkDecoder(NetSpec(encoder="mobilenetv2_100", size=Size(32, 32), deconv_widths=(32,)))
