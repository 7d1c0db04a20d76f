"""``slimpose fit``."""

from __future__ import annotations

from json import dumps, loads
from typing import TYPE_CHECKING, Any

from slimpose.arrays import Size
from slimpose.cli.cost import cost_entry
from slimpose.export.hardware import report_text
from slimpose.export.hardware.check import Report, check_layers
from slimpose.export.hardware.graph import graph_of
from slimpose.export.hardware.patterns import layers_of
from slimpose.export.hardware.target import load_target
from slimpose.network.family import FAMILY, family_spec
from slimpose.network.spec import NetSpec

if TYPE_CHECKING:
    from slimpose.export.hardware.fit import Candidate

_MAX_OTHERS = 4


def fit(
    target: str, gmac: float, parent: str = "mnv2", size: str = "256x192", json: bool = False
) -> int:
    """Find the network that a hardware target computes completely, near a number of multiply-adds.

    Widths and depths of MobileNetV2 and EfficientNet-Lite are searched by arithmetic; the best
    network is built untrained, and its file checked as by ``slimpose lint``. The best can start
    from most of the parent's weights, then is the most balanced between width and depth, then the
    nearest.

    Args:
        target: The hardware target: a chip or runtime of slimpose lint --list.
        gmac: True multiply-adds per crop to approach, in 1e9.
        parent: Network of the family whose weights training may start from.
        size: Input HEIGHTxWIDTH, multiples of 32.
        json: Print JSON.
    """
    hardware = load_target(target)
    from slimpose.export import onnx
    from slimpose.export.hardware.fit import fit as search
    from slimpose.network.cost import cost_of_spec
    from slimpose.network.weights import random_network

    found = search(hardware, gmac=gmac, parent=family_spec(parent), size=Size.parse(size))
    best = found[0]
    model = onnx.to_onnx(random_network(best.spec), name="", card={})
    report = check_layers(layers_of(graph_of(model)), hardware)
    _check_against_file(best, report)
    others = found[1 : 1 + _MAX_OTHERS]
    if json:
        print(dumps(_entry(best, report, parent=parent, others=others), indent=1))
        return 0
    cost = cost_of_spec(best.spec)
    name = _name(best.spec)
    print(f"{name}: {_describe(best.spec)}" if name else _describe(best.spec))
    print(f"net: {best.spec.to_json()}")
    print(f"{cost.gmac:.3f} GMAC, tool number {cost.paper_gflops:.3f}, {cost.params:,} parameters")
    print(
        f"{best.inherited:.0%} of the layers of {parent}, from the input on, can initialize its own"
    )
    print()
    for line in report_text.format_report(report, name=name or "the network"):
        print(line)
    if others:
        print(f"\nother networks without a finding, {len(found) - 1} in all:")
        for other in others:
            print(
                f"  {other.macs / 1e9:.3f} GMAC, {other.inherited:.0%} of {parent}: "
                f"{_describe(other.spec)}"
            )
    return 0


def _check_against_file(best: Candidate, report: Report) -> None:
    """Raise an error if the linter's report on the file differs from the arithmetic."""
    if report.leaving or report.advised or report.macs != best.macs:
        raise RuntimeError(
            f"the exported network has {report.macs} multiply-adds, {len(report.leaving)} layers "
            f"that leave {report.target.name} and {len(report.advised)} that waste capacity; "
            f"expected {best.macs}, 0 and 0 (a mistake in slimpose.export.hardware.arithmetic)"
        )


def _name(spec: NetSpec) -> str | None:
    return next((name for name, known in FAMILY.items() if known == spec), None)


def _describe(spec: NetSpec) -> str:
    widths = "-".join(map(str, spec.deconv_widths))
    return (
        f"{spec.encoder}, width {spec.width_multiplier:g}, depth {spec.depth_multiplier:g}, "
        f"multiples of {spec.round_to}, {spec.activation}, head {spec.head_width}, "
        f"deconvolutions {widths}, {spec.size}"
    )


def _entry(
    best: Candidate, report: Report, *, parent: str, others: list[Candidate]
) -> dict[str, Any]:
    return {
        "name": _name(best.spec),
        "net": loads(best.spec.to_json()),
        **cost_entry(best.spec),
        "parent": parent,
        "inherited": round(best.inherited, 4),
        "verdict": report_text.summary_json(report, name=_name(best.spec) or "the network"),
        "others": [
            {
                "net": loads(other.spec.to_json()),
                "gmac": round(other.macs / 1e9, 4),
                "inherited": round(other.inherited, 4),
            }
            for other in others
        ],
    }
