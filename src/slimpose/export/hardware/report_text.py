"""Linter reports as text, as JSON, and as a table of several models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from slimpose.export.hardware.check import Finding, LayerVerdict, Report
from slimpose.export.hardware.layers import Layer, Shape
from slimpose.export.hardware.target import MODEL_KIND

_MAX_LISTED = 6


def format_report(report: Report, *, name: str, every_layer: bool = False) -> Iterator[str]:
    """Yield lines of text: the counts, and each finding with its layers.

    With ``every_layer``, also list the layers that fit, with the limits they keep.
    """
    yield f"{name} on {report.target.name}: {report.target.title}"
    counted, stay = report.counted, sum(verdict.stays for verdict in report.counted)
    advised = f"; {len(report.advised)} fit but waste capacity" if report.advised else ""
    leaving = len(counted) - stay
    yield f"{len(counted)} layers: {stay} fit, {leaving} leave the accelerator{advised}"
    share = report.macs_staying / report.macs if report.macs else 1.0
    yield (
        f"{report.macs / 1e9:.3f} GMAC: {report.macs_staying / 1e9:.3f} on the accelerator, "
        f"{share:.1%}, in {_pieces(counted)} piece{'' if _pieces(counted) == 1 else 's'}"
    )
    blocks = {verdict.layer.block for verdict in counted} - {""}
    if blocks:
        whole = len(blocks - {verdict.layer.block for verdict in counted if not verdict.stays})
        yield f"{len(blocks)} squeeze-and-excite blocks: {whole} fit, the others leave in part"
    outside = Counter(verdict.layer.part for verdict in report.verdicts if not verdict.counts)
    if outside:
        yield (
            f"not counted: {outside['before']} layers that normalize the pixels and "
            f"{outside['decoding']} that decode the maps; they run on the CPU by design "
            "(--whole counts them)"
        )
    for verdicts in _groups(report).values():
        yield from _group(verdicts, every_layer=every_layer)
    if every_layer:
        yield ""
        yield from (line for verdict in report.verdicts for line in _layer(verdict))


def report_json(report: Report, *, name: str) -> dict[str, Any]:
    """Return the report as JSON; each layer has the rules that it keeps and breaks."""
    layers = [_layer_json(verdict) for verdict in report.verdicts]
    return {**summary_json(report, name=name), "layers": layers}


def summary_json(report: Report, *, name: str) -> dict[str, Any]:
    """Return the report as JSON without its layers."""
    return {
        "model": name,
        "target": report.target.name,
        "title": report.target.title,
        "fits": not report.leaving,
        "layers_counted": len(report.counted),
        "layers_leaving": sum(not verdict.stays for verdict in report.counted),
        "layers_advised": len(report.advised),
        "macs": report.macs,
        "macs_on_the_accelerator": report.macs_staying,
        "pieces": _pieces(report.counted),
    }


def format_table(
    rows: Sequence[tuple[str, Sequence[Report]]], names: Sequence[str]
) -> Iterator[str]:
    """Yield a Markdown table with one row per target and one column per model.

    A cell has layers on the accelerator/all, GMAC on the accelerator/all, and the number of pieces.
    A row is the name of a target and its reports, in the order of the models' names.
    """
    yield "| target | " + " | ".join(names) + " |"
    yield "|---" * (len(names) + 1) + "|"
    for target, reports in rows:
        yield f"| {target} | " + " | ".join(_cell(report) for report in reports) + " |"


def format_shape(shape: Shape | None) -> str:
    """Return a shape as text."""
    return "?" if shape is None else "x".join(map(str, shape))


def summary_of(layer: Layer) -> str:
    """Return the window and the shapes of a layer in short form."""
    facts = layer.facts
    words: list[str] = []
    if layer.kind == MODEL_KIND:
        return ", ".join(f"{name} {value}" for name, value in facts.items())
    if "kernel_height" in facts:
        words.append(f"{facts['kernel_height']}x{facts['kernel_width']}")
        for name in ("stride", "dilation"):
            if (facts[f"{name}_height"], facts[f"{name}_width"]) != (1, 1):
                words.append(f"{name} {facts[f'{name}_height']}x{facts[f'{name}_width']}")
    maps = " + ".join(format_shape(shape) for shape in layer.inputs)
    shapes = f"{maps} -> {format_shape(layer.output)}"
    return f"{' '.join(words)}, {shapes}" if words else shapes


def _pieces(counted: Iterable[LayerVerdict]) -> int:
    """Count the runs of consecutive layers on the accelerator; each costs a transfer both ways."""
    return sum(stays for stays, _ in groupby(verdict.stays for verdict in counted))


def _cell(report: Report) -> str:
    counted = report.counted
    stay = sum(verdict.stays for verdict in counted)
    file_refused = any(verdict.layer.kind == MODEL_KIND for verdict in report.leaving)
    gmac = f"{report.macs_staying / 1e9:.3f}/{report.macs / 1e9:.3f}"
    text = f"{stay}/{len(counted)}, {gmac}, {_pieces(counted)}"
    return text + (" (file refused)" if file_refused else "")


_Key = tuple[str, str, str]
_LEVELS = ("leaves", "unknown", "advice")


def _groups(report: Report) -> dict[_Key, list[tuple[LayerVerdict, Finding]]]:
    """Return the findings by rule and kind, those that leave first."""
    groups: dict[_Key, list[tuple[LayerVerdict, Finding]]] = {}
    findings = [
        (verdict, finding)
        for verdict in report.verdicts
        if verdict.counts
        for finding in verdict.findings
    ]
    for verdict, finding in sorted(findings, key=lambda entry: _LEVELS.index(entry[1].level)):
        key = (finding.level, _kind(verdict.layer), finding.rule)
        groups.setdefault(key, []).append((verdict, finding))
    return groups


def _kind(layer: Layer) -> str:
    return f"squeeze-and-excite: {layer.kind}" if layer.block else layer.kind


def _group(found: list[tuple[LayerVerdict, Finding]], *, every_layer: bool) -> Iterator[str]:
    verdict, finding = found[0]
    number = f"{len(found)} layer{'s' if len(found) > 1 else ''}"
    yield ""
    yield f"{finding.level}: {_kind(verdict.layer)}, {number} (rule {finding.rule})"
    one_why = len({other.why for _, other in found}) == 1
    one_fix = len({other.fix for _, other in found}) == 1
    if one_why:
        yield f"  why: {finding.why}"
    if one_fix:
        yield f"  fix: {finding.fix}"
    yield f"  source: {finding.source}"
    for listed, other in found if every_layer else found[:_MAX_LISTED]:
        yield f"  - {listed.layer.name}: {summary_of(listed.layer)}"
        if not one_why:
            yield f"    why: {other.why}"
        if not one_fix:
            yield f"    fix: {other.fix}"
    if not every_layer and len(found) > _MAX_LISTED:
        yield f"  - and {len(found) - _MAX_LISTED} more (--all lists them)"


def _layer(verdict: LayerVerdict) -> Iterator[str]:
    layer = verdict.layer
    status = verdict.status if verdict.counts else f"not counted ({layer.part})"
    operators = f" [{' '.join(layer.operators)}]" if layer.operators else ""
    block = f" in {layer.block}" if layer.block else ""
    yield f"{status}: {layer.name}: {layer.kind}{operators}{block}, {summary_of(layer)}"
    for finding in verdict.findings:
        yield f"    breaks {finding.rule}: {finding.why}; fix: {finding.fix}"
    for rule, numbers, _ in verdict.met:
        yield f"    keeps {rule}: {numbers}"


def _layer_json(verdict: LayerVerdict) -> dict[str, Any]:
    layer = verdict.layer
    return {
        "name": layer.name,
        "kind": layer.kind,
        "operators": list(layer.operators),
        "part": layer.part,
        "block": layer.block or None,
        "inputs": [None if shape is None else list(shape) for shape in layer.inputs],
        "output": None if layer.output is None else list(layer.output),
        "macs": layer.macs,
        "counts": verdict.counts,
        "verdict": verdict.status,
        "breaks": [asdict(finding) for finding in verdict.findings],
        "keeps": [
            {"rule": rule, "numbers": numbers, "source": source}
            for rule, numbers, source in verdict.met
        ],
    }
