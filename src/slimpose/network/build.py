"""Build a network, of the family or a compared baseline, from its name, spec or metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slimpose import fields
from slimpose.arrays import Size
from slimpose.geometry import CellAlignment
from slimpose.network.alignment import ALIGNMENTS
from slimpose.network.baselines.net import ARCHITECTURES, BaselineNet, BaselineSpec
from slimpose.network.baselines.simple_baseline import simple_baseline
from slimpose.network.detector_net import DetectorNet
from slimpose.network.family import FAMILY
from slimpose.network.high_resolution import HR, HighResolutionNet, HighResolutionSpec
from slimpose.network.pose_net import PoseNet
from slimpose.network.pyramid_detector import PYRAMID, PyramidDetector, PyramidSpec
from slimpose.network.spec import NetSpec

Spec = NetSpec | HighResolutionSpec | PyramidSpec | BaselineSpec
Net = PoseNet | HighResolutionNet | DetectorNet | PyramidDetector | BaselineNet

_ARCHITECTURES: dict[str, type[HighResolutionSpec | PyramidSpec]] = {
    "high-resolution": HighResolutionSpec,
    "pyramid-detector": PyramidSpec,
}
_TUPLES = ("deconv_widths", "inner_widths", "widths", "modules", "depths")
"""Fields of specs that JSON stores as lists."""

BASELINES: dict[str, Spec] = {
    **{f"simplebaseline-r{depth}": simple_baseline(depth) for depth in (50, 101, 152)},
    **{name: BaselineSpec(baseline=name) for name in ARCHITECTURES},
    "lightweight-openpose": BaselineSpec(
        baseline="lightweight-openpose", size=Size(368, 368), joints=18
    ),
}
"""The networks that the paper compares itself with, at the input sizes of its tables."""

NETWORKS: dict[str, Spec] = {**FAMILY, "hr": HR, "pyramid": PYRAMID}
"""The networks that this project trains."""


def spec_named(name: str, *, size: Size | None = None) -> Spec:
    """Return the spec of a network of the family or a baseline, at another input size if given.

    Raises:
        ValueError: If the name is unknown; lists the known names.

    >>> spec_named("mnv2", size=Size(128, 96)).heatmap_size
    Size(height=32, width=24)
    """
    known = {**NETWORKS, **BASELINES}
    if name not in known:
        raise ValueError(f"no network is named {name!r}; expected one of {', '.join(known)}")
    return known[name].at(size) if size else known[name]


def spec_from_json(text: str) -> Spec:
    """Parse a spec from its ``to_json``, stored as ``net`` in a file's metadata.

    Raises:
        ValueError: If the text does not describe a spec.
    """
    try:
        entry = fields.table(fields.from_json(text, "net"), "net")
        size = [
            fields.integer(side, entry.what("size"), low=0, high=2**15)
            for side in fields.items(entry.get("size"), entry.what("size"), "height, width")
        ]
        if len(size) != 2:
            raise fields.fail(entry.what("size"), size, "height, width")
        settings = {**entry.values, "size": Size(*size)}
        settings |= {name: tuple(entry.items(name)) for name in _TUPLES if name in settings}
        return fields.build(_spec_class(settings), settings, "net")
    except ValueError as error:
        raise ValueError(f"metadata does not describe a slimpose network: {error}") from error


def _spec_class(settings: Mapping[str, Any]) -> type[Spec]:
    """Return the class that the settings of a spec belong to."""
    if "architecture" not in settings:
        return BaselineSpec if "baseline" in settings else NetSpec
    architecture = settings["architecture"]
    if not isinstance(architecture, str) or architecture not in _ARCHITECTURES:
        raise fields.fail("net.architecture", architecture, f"one of {', '.join(_ARCHITECTURES)}")
    return _ARCHITECTURES[architecture]


def build(spec: Spec, *, alignment: CellAlignment = "centers") -> Net:
    """Return a network with random weights: a person detector if the spec has no joints.

    ``alignment`` is where the heatmaps' cells lay when the weights were trained; the network's
    output is at ``centers`` in any case.
    """
    if isinstance(spec, BaselineSpec):
        return BaselineNet(spec, alignment)
    if isinstance(spec, HighResolutionSpec):
        return HighResolutionNet(spec, alignment)
    if isinstance(spec, PyramidSpec):
        return PyramidDetector(spec)
    return PoseNet(spec, alignment) if spec.joints else DetectorNet(spec)


def net_from_metadata(metadata: Mapping[str, str]) -> Net:
    """Build the network that a weights file's metadata describes, with random weights.

    Raises:
        KeyError: If the metadata has no ``net``.
        ValueError: If it does not describe a network.
    """
    return build(spec_from_json(metadata["net"]), alignment=alignment_from_metadata(metadata))


def alignment_from_metadata(metadata: Mapping[str, str]) -> CellAlignment:
    """Return the heatmap alignment of a file's weights; ``centers`` if the metadata has none.

    Raises:
        ValueError: If the alignment is unknown.
    """
    alignment = metadata.get("alignment", "centers")
    if alignment not in ALIGNMENTS:
        raise ValueError(
            f"metadata has the alignment {alignment!r}; expected one of {', '.join(ALIGNMENTS)}"
        )
    return alignment
