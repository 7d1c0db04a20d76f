"""A high-resolution network of shuffle units, as PP-TinyPose is published: to be imported."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slimpose.network.high_resolution import HighResolutionSpec, Stem, convolution, separable


def _shuffled(left: Tensor, right: Tensor) -> Tensor:
    joined = torch.cat([left, right], dim=1)
    n, channels, height, width = joined.shape
    pairs = joined.reshape(n, 2, channels // 2, height, width).transpose(1, 2)
    return pairs.reshape(n, channels, height, width)


class _Unit(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.layers = nn.Sequential(
            convolution(half, half),
            nn.ReLU(),
            convolution(half, half, kernel=3, depthwise=True),
            convolution(half, half),
            nn.ReLU(),
        )

    def forward(self, maps: Tensor) -> Tensor:
        passed, changed = maps.chunk(2, dim=1)
        return _shuffled(passed, self.layers(changed))


class _Exchange(nn.Module):
    def __init__(self, widths: tuple[int, ...], units: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(_Unit(width) for _ in range(units))) for width in widths
        )
        self.rows = nn.ModuleList()
        for target, outputs in enumerate(widths):
            row = nn.ModuleDict()
            for source, inputs in enumerate(widths):
                if source > target:
                    row[str(source)] = convolution(inputs, outputs)
                elif source < target:
                    steps = [
                        separable(inputs, inputs, stride=2) for _ in range(target - source - 1)
                    ]
                    last = separable(inputs, outputs, stride=2, relu=False)
                    row[str(source)] = nn.Sequential(*steps, last)
            self.rows.append(row)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [branch(features) for branch, features in zip(self.branches, maps, strict=True)]
        sums: list[Tensor] = []
        for target, row in enumerate(self.rows):
            assert isinstance(row, nn.ModuleDict)
            total = maps[0] if target == 0 else row["0"](sums[0])
            total = total + total  # as published
            for source in range(1, len(maps)):
                added = maps[source]
                if source != target:
                    added = row[str(source)](added)
                if source > target:
                    added = F.interpolate(added, scale_factor=2 ** (source - target))
                total = total + added
            sums.append(total)
        return [torch.relu(total) for total in sums]


class ShufflePose(nn.Module):
    """Normalized images (n, 3, H, W) to heatmaps; with random weights."""

    def __init__(self, spec: HighResolutionSpec) -> None:
        super().__init__()
        widths, stem = spec.widths, spec.stem_width
        self.first = convolution(3, stem, kernel=3, stride=2)
        self.stem = Stem(stem)
        self.starts = nn.ModuleList(
            [
                separable(stem, widths[0]),
                separable(stem, widths[1], stride=2),
                separable(widths[1], widths[2], stride=2),
            ]
        )
        self.stages = nn.ModuleList(
            nn.ModuleList(_Exchange(widths[: count + 2], spec.units) for _ in range(modules))
            for count, modules in enumerate(spec.modules)
        )
        self.head = nn.ModuleList(
            separable(width, narrower)
            for width, narrower in zip(widths[::-1], (*widths[-2::-1], widths[0]), strict=True)
        )
        self.to_heatmaps = convolution(widths[0], spec.joints)

    def forward(self, images: Tensor) -> Tensor:
        left, right = torch.relu(self.first(images)).chunk(2, dim=1)
        stem = _shuffled(self.stem.left[2:](left), self.stem.right[2:](right))
        maps = [self.starts[0](stem), self.starts[1](stem)]
        for number, stage in enumerate(self.stages):
            if number:
                maps = [*maps, self.starts[number + 1](maps[-1])]
            for exchange in stage:  # pyright: ignore[reportGeneralTypeIssues]
                maps = exchange(maps)
        merged = self.head[0](maps[-1])
        for layers, finer in zip(list(self.head)[1:], maps[-2::-1], strict=True):
            enlarged = F.interpolate(merged, scale_factor=2, mode="bilinear", align_corners=True)
            merged = layers(finer + enlarged)
        return self.to_heatmaps(merged)


def export_graph(net: nn.Module, example: Tensor, path: Path) -> Path:
    """Write a network as an ONNX graph and return its path."""
    program = torch.onnx.export(net.eval(), (example,), dynamo=True, verbose=False)
    assert program is not None
    program.save(str(path))
    return path
