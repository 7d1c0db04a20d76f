"""Verdicts: each layer against each rule of a target."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal

from slimpose.export.hardware.expressions import MissingFactError, fill
from slimpose.export.hardware.layers import Layer
from slimpose.export.hardware.target import ANY_KIND, MODEL_KIND, Rule, Target

Status = Literal["fits", "advice", "leaves", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong with a layer: the rule, why, what would mend it, and who says so."""

    rule: str
    level: Literal["leaves", "advice", "unknown"]
    why: str
    fix: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerVerdict:
    """A layer on a target.

    Attributes:
        layer: The layer.
        counts: False for what surrounds the network, which runs on the CPU by design.
        findings: Empty if all is well.
        met: The limits it keeps, each with its numbers and source.
    """

    layer: Layer
    counts: bool
    findings: tuple[Finding, ...]
    met: tuple[tuple[str, str, str], ...]

    @property
    def status(self) -> Status:
        """The worst of the findings; ``unknown`` counts as leaving."""
        levels = {finding.level for finding in self.findings}
        for level in ("leaves", "unknown", "advice"):
            if level in levels:
                return level
        return "fits"

    @property
    def stays(self) -> bool:
        """Whether the accelerator computes it."""
        return self.status in ("fits", "advice")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A model on a target; a verdict on the file as a whole comes first if the target has rules about files."""

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
        """Verdicts, the file's own included, that break something; unknown ones too."""
        return [verdict for verdict in self.verdicts if verdict.counts and not verdict.stays]

    @property
    def advised(self) -> list[LayerVerdict]:
        """Verdicts on layers that stay but waste something."""
        return [
            verdict for verdict in self.verdicts if verdict.counts and verdict.status == "advice"
        ]

    @property
    def macs(self) -> int:
        """Multiply-adds of the layers that should run on the accelerator."""
        return sum(verdict.layer.macs for verdict in self.counted)

    @property
    def macs_staying(self) -> int:
        """Multiply-adds of those that do."""
        return sum(verdict.layer.macs for verdict in self.counted if verdict.stays)


def check_layers(
    layers: Sequence[Layer],
    target: Target,
    *,
    allowed: AbstractSet[str] = frozenset(),
    whole: bool = False,
) -> Report:
    """Judge every layer.

    Args:
        layers: A whole model's, the one about the file included.
        target: What they should run on.
        allowed: Kinds or ONNX operators that the table does not know and somebody answers for.
        whole: Count what surrounds the network too.
    """
    verdicts = [check_layer(layer, target, allowed=allowed, whole=whole) for layer in layers]
    return Report(target=target, verdicts=tuple(verdicts))


def check_layer(
    layer: Layer, target: Target, *, allowed: AbstractSet[str] = frozenset(), whole: bool = False
) -> LayerVerdict:
    """Return the verdict on one layer."""
    counts = whole or layer.part == "body"
    if layer.kind == MODEL_KIND:
        findings, met = _limits(layer, target)
        return LayerVerdict(layer=layer, counts=True, findings=tuple(findings), met=tuple(met))
    refusal = _refusal(layer, target)
    if refusal is not None:
        return LayerVerdict(
            layer=layer, counts=counts, findings=(_finding(refusal, layer, target),), met=()
        )
    if not _runs(layer, target.runs):
        names = {layer.kind, *layer.operators}
        if not (
            layer.kind in allowed or (layer.operators and set(layer.operators) <= set(allowed))
        ):
            finding = Finding(
                rule="not-in-the-table",
                level="unknown",
                why=f"{' + '.join(layer.operators) or layer.kind}: the table of {target.name} does not know it",
                fix=f"find out whether it runs there, then say --allow {layer.kind}; or do without it",
                source="; ".join(target.sources),
            )
            return LayerVerdict(layer=layer, counts=counts, findings=(finding,), met=())
        met_word = (
            "allowed",
            f"{', '.join(sorted(names & set(allowed)))}: on your word",
            "--allow",
        )
        return LayerVerdict(layer=layer, counts=counts, findings=(), met=(met_word,))
    findings, met = _limits(layer, target)
    return LayerVerdict(layer=layer, counts=counts, findings=tuple(findings), met=tuple(met))


def _runs(layer: Layer, runs: Iterable[str]) -> bool:
    return layer.kind in runs or (bool(layer.operators) and set(layer.operators) <= set(runs))


def _refusal(layer: Layer, target: Target) -> Rule | None:
    """The refusal of its kind, or of one of its operators where the table does not run its kind."""
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
        everything = ANY_KIND in rule.on and layer.kind != MODEL_KIND
        if not (everything or layer.kind in rule.on or set(layer.operators) & set(rule.on)):
            continue
        assert rule.holds is not None
        try:
            if rule.holds.value(facts):
                met.append((rule.id, rule.holds.explain(facts), rule.source))
            else:
                findings.append(_finding(rule, layer, target))
        except MissingFactError as missing:
            findings.append(
                Finding(
                    rule=rule.id,
                    level="unknown",
                    why=f"the file does not tell {missing}, which the limit {rule.holds.text} needs",
                    fix="give the file fixed shapes (--batch, --shape) and constant parameters",
                    source=rule.source,
                )
            )
    return findings, met


def _finding(rule: Rule, layer: Layer, target: Target) -> Finding:
    facts = {"kind": layer.kind, **target.parameters, **layer.facts}
    why = fill(rule.because, facts)
    if rule.holds is not None:
        why += f" ({rule.holds.explain(facts)})"
    return Finding(
        rule=rule.id, level=rule.level, why=why, fix=fill(rule.fix, facts), source=rule.source
    )
