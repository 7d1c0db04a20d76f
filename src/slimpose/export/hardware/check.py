"""Verdicts: whether a hardware target computes each layer of a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal

from slimpose.export.hardware.expressions import (
    ExpressionError,
    MissingFactError,
    fill_placeholders,
)
from slimpose.export.hardware.layers import Layer
from slimpose.export.hardware.target import ANY_KIND, MODEL_KIND, Rule, Target
from slimpose.messages import quoted

Status = Literal["fits", "advice", "leaves", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A rule that a layer breaks: its id, why it is broken, a fix, and the source of the rule."""

    rule: str
    level: Literal["leaves", "advice", "unknown"]
    why: str
    fix: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerVerdict:
    """The verdict on one layer.

    Attributes:
        layer: The layer.
        counts: False for layers around the network, which run on the CPU by design.
        findings: The rules it breaks.
        met: The limits it keeps: rule, numbers and source of each.
    """

    layer: Layer
    counts: bool
    findings: tuple[Finding, ...]
    met: tuple[tuple[str, str, str], ...]

    @property
    def status(self) -> Status:
        """Level of the worst finding; ``fits`` if there is none."""
        levels = {finding.level for finding in self.findings}
        for level in ("leaves", "unknown", "advice"):
            if level in levels:
                return level
        return "fits"

    @property
    def stays(self) -> bool:
        """Whether the accelerator computes the layer; ``unknown`` counts as no."""
        return self.status in ("fits", "advice")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The verdicts on a model; the first is about the file as a whole."""

    target: Target
    verdicts: tuple[LayerVerdict, ...]

    @property
    def counted(self) -> list[LayerVerdict]:
        """Verdicts on the layers that should run on the accelerator."""
        return [
            verdict
            for verdict in self.verdicts
            if verdict.counts and verdict.layer.kind != MODEL_KIND
        ]

    @property
    def leaving(self) -> list[LayerVerdict]:
        """Verdicts that break a limit or are unknown, the one on the file included."""
        return [verdict for verdict in self.verdicts if verdict.counts and not verdict.stays]

    @property
    def advised(self) -> list[LayerVerdict]:
        """Verdicts on layers that stay on the accelerator but waste capacity."""
        return [
            verdict for verdict in self.verdicts if verdict.counts and verdict.status == "advice"
        ]

    @property
    def macs(self) -> int:
        """Multiply-adds of the layers that should run on the accelerator."""
        return sum(verdict.layer.macs for verdict in self.counted)

    @property
    def macs_staying(self) -> int:
        """Multiply-adds of the layers that do run on the accelerator."""
        return sum(verdict.layer.macs for verdict in self.counted if verdict.stays)


def check_layers(
    layers: Sequence[Layer],
    target: Target,
    *,
    allowed: AbstractSet[str] = frozenset(),
    whole: bool = False,
) -> Report:
    """Check all layers of a model, including the one about the file, against a target's rules.

    ``allowed`` are kinds or ONNX operators, unknown to the target, that are assumed to run on it.
    With ``whole``, the layers around the network are counted too.
    """
    verdicts = [check_layer(layer, target, allowed=allowed, whole=whole) for layer in layers]
    return Report(target=target, verdicts=tuple(verdicts))


def check_layer(
    layer: Layer, target: Target, *, allowed: AbstractSet[str] = frozenset(), whole: bool = False
) -> LayerVerdict:
    """Return the verdict on one layer."""
    is_model = layer.kind == MODEL_KIND
    refusal = None if is_model else _refusal(layer, target)
    findings, met = list[Finding](), list[tuple[str, str, str]]()
    if refusal is not None:
        findings.append(_finding(refusal, layer, target))
    elif is_model or _runs(layer, target.runs):
        findings, met = _limits(layer, target)
    elif _runs(layer, allowed):
        names = ", ".join(sorted({layer.kind, *layer.operators} & set(allowed)))
        met.append(("allowed", f"{names}: assumed to run", "--allow"))
    else:
        findings.append(
            Finding(
                rule="not-in-the-table",
                level="unknown",
                why=f"{' + '.join(layer.operators) or layer.kind} is not in {target.name}'s table",
                fix=f"find out whether it runs there and pass --allow {layer.kind}, or remove it",
                source="; ".join(target.sources),
            )
        )
    counts = whole or is_model or layer.part == "body"
    return LayerVerdict(layer=layer, counts=counts, findings=tuple(findings), met=tuple(met))


def _runs(layer: Layer, runs: Iterable[str]) -> bool:
    return layer.kind in runs or (bool(layer.operators) and set(layer.operators) <= set(runs))


def _refusal(layer: Layer, target: Target) -> Rule | None:
    """Return the rule that refuses the kind, or an operator if the target does not run the kind."""
    for rule in target.refusals:
        if layer.kind in rule.on:
            return rule
    if layer.kind in target.runs:
        return None
    return next((rule for rule in target.refusals if set(layer.operators) & set(rule.on)), None)


def _limits(layer: Layer, target: Target) -> tuple[list[Finding], list[tuple[str, str, str]]]:
    facts = {"kind": layer.kind, **target.parameters, **layer.facts}
    findings: list[Finding] = []
    met: list[tuple[str, str, str]] = []
    for rule in target.limits:
        applies = ANY_KIND in rule.on and layer.kind != MODEL_KIND
        if not (applies or layer.kind in rule.on or set(layer.operators) & set(rule.on)):
            continue
        assert rule.holds is not None
        try:
            if rule.holds.value(facts):
                met.append((rule.id, rule.holds.explain(facts), rule.source))
            else:
                findings.append(_finding(rule, layer, target))
        except ExpressionError as error:
            raise _no_value(rule, layer, error) from error
        except MissingFactError as missing:
            findings.append(
                Finding(
                    rule=rule.id,
                    level="unknown",
                    why=f"{missing} is not known from the file; needed by {rule.holds.text}",
                    fix="set all shapes (--batch, --shape) and make parameters constant",
                    source=rule.source,
                )
            )
    return findings, met


def _finding(rule: Rule, layer: Layer, target: Target) -> Finding:
    facts = {"kind": layer.kind, **target.parameters, **layer.facts}
    try:
        why, fix = fill_placeholders(rule.because, facts), fill_placeholders(rule.fix, facts)
    except ExpressionError as error:
        raise _no_value(rule, layer, error) from error
    if rule.holds is not None:
        why += f" ({rule.holds.explain(facts)})"
    return Finding(rule=rule.id, level=rule.level, why=why, fix=fix, source=rule.source)


def _no_value(rule: Rule, layer: Layer, error: ExpressionError) -> ValueError:
    return ValueError(f"{rule.where or rule.id}: {error}, for layer {quoted(layer.name)}")
