"""The rows of the paper's Tables III to VII: networks that reproduce them, and printed results.

Source:
    Yamazaki and Mori, "Rethinking Deconvolution for 2D Human Pose Estimation: Light yet Accurate
    Model for Real-time Edge Computing", 2021, arXiv:2111.04226. AP is on COCO val2017, without
    distillation.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from slimpose.arrays import Size
from slimpose.network.family import FAMILY
from slimpose.network.spec import NetSpec

Table = Literal["III", "IV", "V", "VI", "VII"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperRow:
    """One row of a table.

    Attributes:
        table: Roman number of the paper's table.
        row: What distinguishes the row in its table.
        gflops: The paper's "GFLOPs", rounded or cut to 2 decimals; see ``Cost.paper_gflops``.
        ap: The paper's AP in percent; Table IV's typing errors 7.11, 7.13 and 7.18 are
            corrected here.
        spec: The network of the row.
    """

    table: Table
    row: str
    gflops: float
    ap: float
    spec: NetSpec

    @property
    def id(self) -> str:
        """Table and row as one word, such as ``IV:ResNet-18-32``."""
        return f"{self.table}:{self.row.replace(', ', '-').replace(' ', '-')}"


_B1 = FAMILY["b1"]


def _with_widths(name: str, channels: int, **changes: int) -> NetSpec:
    return dataclasses.replace(FAMILY[name], deconv_widths=(channels,) * 3, **changes)


_BY_SIZE = tuple(
    PaperRow(table="III", row=text, gflops=gflops, ap=ap, spec=_B1.at(Size.parse(text)))
    for text, gflops, ap in (
        ("128x96", 0.14, 54.8),
        ("160x128", 0.24, 61.4),
        ("192x160", 0.35, 65.2),
        ("224x160", 0.41, 67.3),
        ("256x192", 0.56, 69.7),
        ("384x288", 1.27, 72.9),
    )
)

_BY_ENCODER = tuple(
    PaperRow(table="IV", row=row, gflops=gflops, ap=ap, spec=_with_widths(name, channels))
    for row, name, channels, gflops, ap in (
        ("ResNet-18, 16", "r18", 16, 1.69, 48.3),
        ("ResNet-18, 32", "r18", 32, 1.76, 66.9),
        ("ResNet-18, 64", "r18", 64, 1.99, 67.1),
        ("ResNet-18, 128", "r18", 128, 2.79, 67.7),
        ("ResNet-18, 256", "r18", 256, 5.79, 67.4),
        ("ResNet-34, 32", "r34", 32, 3.45, 70.7),
        ("ResNet-50, 32", "r50", 32, 3.98, 71.2),
        ("ResNet-50, 256", "r50", 256, 8.99, 71.6),
        ("EfficientNet-B0", "b0", 32, 0.40, 67.2),
        ("EfficientNet-B1", "b1", 32, 0.56, 69.7),
        ("EfficientNet-B2", "b2", 32, 0.64, 69.8),
        ("EfficientNet-B3", "b3", 32, 0.92, 71.1),
        ("EfficientNet-B4", "b4", 32, 1.40, 71.3),
        ("EfficientNet-B5", "b5", 32, 2.17, 71.8),
        ("EfficientNet-B6", "b6", 32, 3.07, 72.5),
    )
)
"""The number in a ResNet row is the channels of each deconvolution; EfficientNets have 32.

ResNets have no head convolution: with one, the printed numbers do not fit.
"""

_BY_LEVELS = tuple(
    PaperRow(table="V", row=f"{levels} levels", gflops=gflops, ap=ap, spec=spec)
    for levels, gflops, ap, spec in (
        (2, 0.37, 67.1, dataclasses.replace(_B1, encoder_stride=16, deconv_widths=(32, 32))),
        (3, 0.56, 69.7, _B1),
        (4, 0.75, 68.6, dataclasses.replace(_B1, deconv_widths=(32,) * 4)),
    )
)
"""Two levels: the encoder ends at stride 16. Four levels: heatmaps of 128x96 instead of 64x48."""

_BY_WIDTH = tuple(
    PaperRow(
        table="VI",
        row=f"{head}-{channels}",
        gflops=gflops,
        ap=ap,
        spec=_with_widths("b1", channels, head_width=head),
    )
    for head, channels, gflops, ap in (
        (320, 256, 4.50, 69.6),
        (160, 128, 1.50, 69.0),
        (80, 64, 0.75, 69.2),
        (40, 32, 0.56, 69.7),
        (20, 16, 0.52, 64.8),
        (10, 8, 0.50, 19.7),
    )
)
"""Rows are named by the channels of the head and of each deconvolution."""

_BY_SKIP = tuple(
    PaperRow(table="VII", row=skip, gflops=0.56, ap=ap, spec=dataclasses.replace(_B1, skip=skip))
    for skip, ap in (("none", 69.7), ("concat", 69.4), ("sum", 68.4))
)
"""The paper does not say where skips join; at strides 16 and 8 both rows count as printed."""

ROWS: tuple[PaperRow, ...] = (*_BY_SIZE, *_BY_ENCODER, *_BY_LEVELS, *_BY_WIDTH, *_BY_SKIP)
"""All rows in the paper's order."""
