"""``slimpose fit``."""

from __future__ import annotations

from json import dumps, loads
from typing import Any

from slimpose.arrays import Size
from slimpose.export import onnx
from slimpose.export.hardware import report_text
from slimpose.export.hardware.check import Report, check_layers
from slimpose.export.hardware.fit import Candidate
from slimpose.export.hardware.fit import fit as search
from slimpose.export.hardware.graph import graph_of
from slimpose.export.hardware.patterns import layers_of
from slimpose.export.hardware.target import Target, load_target
from slimpose.network.cost import cost_of_spec
from slimpose.network.family import FAMILY, family_spec
from slimpose.network.spec import NetSpec
from slimpose.network.weights import random_network

_OTHERS = 4


def fit(
    target: str, gmac: float, parent: str = "mnv2", size: str = "256x192", json: bool = False
) -> int:
    """Find the net that a chip computes whole, near a number of multiply-adds.

    Widths and depths of MobileNetV2 and EfficientNet-Lite are gone through by arithmetic; the best
    is made, untrained, and its file judged as ``slimpose lint`` does. Best: what can start from
    most of the parent's weights, then what is balanced between width and depth, then what is
    nearest.

    Args:
        target: The chip or runtime; slimpose lint --list tells them.
        gmac: True multiply-adds a crop to come near to, in 1e9.
        parent: Net of the family whose weights training may start from.
        size: Input HEIGHTxWIDTH, multiples of 32.
        json: Print JSON.
    """
    chip = load_target(target)
    found = search(chip, gmac=gmac, parent=family_spec(parent), size=Size.parse(size))
    best = found[0]
    model = onnx.to_onnx(random_network(best.spec), name="", card={})
    report = check_layers(layers_of(graph_of(model)), chip)
    _check(best, report, chip)
    if json:
        print(dumps(_entry(best, report, parent=parent, others=found[1 : 1 + _OTHERS]), indent=1))
        return 0
    cost = cost_of_spec(best.spec)
    print(f"{_named(best.spec)}{_describe(best.spec)}")
    print(f"net: {best.spec.to_json()}")
    print(f"{cost.gmac:.3f} GMAC, tool number {cost.paper_gflops:.3f}, {cost.params:,} parameters")
    print(
        f"{best.inherited:.0%} of the layers of {parent}, from the pixels on, have their like in it to start from"
    )
    print()
    for line in report_text.lines(report, name=_name(best.spec) or "the net"):
        print(line)
    if len(found) > 1:
        print(f"\nalso without a finding, {len(found) - 1} in all:")
        for other in found[1 : 1 + _OTHERS]:
            print(
                f"  {other.macs / 1e9:.3f} GMAC, {other.inherited:.0%} of {parent}: {_describe(other.spec)}"
            )
    return 0


def _check(best: Candidate, report: Report, chip: Target) -> None:
    """The file must say what the arithmetic said."""
    if report.leaving or report.advised or report.macs != best.macs:
        raise RuntimeError(
            f"the exported net has {report.macs} multiply-adds, {len(report.leaving)} layers that leave {chip.name}, "
            f"{len(report.advised)} that waste something; the arithmetic said {best.macs}, none and none "
            "(a mistake in slimpose.export.hardware.arithmetic)"
        )


def _name(spec: NetSpec) -> str | None:
    return next((name for name, known in FAMILY.items() if known == spec), None)


def _named(spec: NetSpec) -> str:
    name = _name(spec)
    return f"{name}: " if name else ""


def _describe(spec: NetSpec) -> str:
    widths = "-".join(map(str, spec.deconv_widths))
    return (
        f"{spec.encoder}, width {spec.width_multiplier:g}, depth {spec.depth_multiplier:g}, multiples of "
        f"{spec.round_to}, {spec.activation}, head {spec.head_width}, deconvolutions {widths}, {spec.size}"
    )


def _entry(
    best: Candidate, report: Report, *, parent: str, others: list[Candidate]
) -> dict[str, Any]:
    cost = cost_of_spec(best.spec)
    return {
        "name": _name(best.spec),
        "net": loads(best.spec.to_json()),
        "gmac": round(cost.gmac, 4),
        "tool": round(cost.paper_gflops, 4),
        "params": cost.params,
        "parent": parent,
        "inherited": round(best.inherited, 4),
        "verdict": report_text.cell_json(report, name=_name(best.spec) or "the net"),
        "others": [
            {
                "net": loads(other.spec.to_json()),
                "gmac": round(other.macs / 1e9, 4),
                "inherited": round(other.inherited, 4),
            }
            for other in others
        ],
    }
