"""Any net that a file or a command names, ours or a compared one: by name, from metadata, as a module."""

from __future__ import annotations

import json
from collections.abc import Mapping

from slimpose.arrays import Size
from slimpose.network.alignment import ALIGNMENTS, Alignment
from slimpose.network.baselines.net import ARCHITECTURES, BaselineNet, BaselineSpec
from slimpose.network.baselines.simple_baseline import simple_baseline
from slimpose.network.detector_net import DetectorNet
from slimpose.network.family import FAMILY
from slimpose.network.pose_net import PoseNet
from slimpose.network.spec import NetSpec

Spec = NetSpec | BaselineSpec
Net = PoseNet | DetectorNet | BaselineNet

BASELINES: dict[str, Spec] = {
    **{f"simplebaseline-r{depth}": simple_baseline(depth) for depth in (50, 101, 152)},
    **{name: BaselineSpec(baseline=name) for name in ARCHITECTURES},
    "lightweight-openpose": BaselineSpec(
        baseline="lightweight-openpose", size=Size(368, 368), joints=18
    ),
}
"""The nets that the paper compares itself with, at the sizes of its tables."""


def spec_named(name: str, *, size: Size | None = None) -> Spec:
    """Return the member of the family or the compared net of that name, at another input size if given.

    Raises:
        ValueError: If there is none, with the names there are.
    """
    known = {**FAMILY, **BASELINES}
    if name not in known:
        raise ValueError(f"no net is named {name!r}; expected one of {', '.join(known)}")
    return known[name].at(size) if size else known[name]


def spec_from_json(text: str) -> Spec:
    """Return the spec whose ``to_json`` wrote this: the ``net`` of a file's metadata.

    Raises:
        ValueError: If the text is not a spec's.
    """
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"metadata does not describe a slimpose net: {error}") from error
    is_baseline = isinstance(fields, dict) and "baseline" in fields
    return BaselineSpec.from_json(text) if is_baseline else NetSpec.from_json(text)


def build(spec: Spec, *, alignment: Alignment = "centers") -> Net:
    """Return the net, weights random: a person detector where the spec has no joints.

    Args:
        spec: Which.
        alignment: Where the heatmaps' cells lay when its weights were trained; it gives ours in any
            case.
    """
    if isinstance(spec, BaselineSpec):
        return BaselineNet(spec, alignment)
    return PoseNet(spec, alignment) if spec.joints else DetectorNet(spec)


def net_from_metadata(metadata: Mapping[str, str]) -> Net:
    """Return the net that a weights file's metadata describes, for its tensors to be loaded into.

    Raises:
        KeyError: If the metadata has no ``net``.
        ValueError: If it describes none.
    """
    return build(spec_from_json(metadata["net"]), alignment=alignment_from_metadata(metadata))


def alignment_from_metadata(metadata: Mapping[str, str]) -> Alignment:
    """Return where the cells lay when a file's weights were trained: here, unless its metadata says otherwise.

    Raises:
        ValueError: If it says nothing known.
    """
    alignment = metadata.get("alignment", "centers")
    if alignment not in ALIGNMENTS:
        raise ValueError(
            f"metadata has the alignment {alignment!r}; expected one of {', '.join(ALIGNMENTS)}"
        )
    return alignment
