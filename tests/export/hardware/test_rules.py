"""Every rule of every target file: a model that breaks it is reported, one at the limit passes.

The rules are read from the files: a new rule without a case in ``lint_cases.py`` fails here.
"""

from __future__ import annotations

import pytest

from lint_cases import CASES
from lint_graphs import one_layer
from slimpose.export.hardware.check import LayerVerdict, check_layers
from slimpose.export.hardware.graph import graph_of
from slimpose.export.hardware.patterns import layers_of
from slimpose.export.hardware.target import ANY_KIND, Rule, Target, all_targets

TARGETS = all_targets()
LIMITS = [(target, rule, kind) for target in TARGETS for rule in target.limits for kind in rule.on]
REFUSED = [
    (target, rule, kind) for target in TARGETS for rule in target.refusals for kind in rule.on
]
RUN = [(target, kind) for target in TARGETS for kind in target.runs]


def _ids(rows: list[tuple[Target, Rule, str]]) -> list[str]:
    return [f"{target.name}:{rule.id}:{kind}" for target, rule, kind in rows]


def verdicts_on(model: object, target: Target, kind: str) -> list[LayerVerdict]:
    """Return the verdicts on the layers of a kind, or with an operator of that name."""
    report = check_layers(layers_of(graph_of(model)), target)  # pyright: ignore[reportArgumentType]
    return [
        verdict
        for verdict in report.verdicts
        if kind == ANY_KIND or kind == verdict.layer.kind or kind in verdict.layer.operators
    ]


@pytest.mark.parametrize(("target", "rule", "kind"), LIMITS, ids=_ids(LIMITS))
def test_a_broken_limit_is_reported_and_a_model_at_the_limit_passes(
    target: Target, rule: Rule, kind: str
) -> None:
    assert rule.id in CASES, (
        f"no case for rule {rule.id!r} of {target.name}: add one to tests/support/lint_cases.py"
    )
    broken, inside = CASES[rule.id](target, kind)
    findings = [
        finding
        for verdict in verdicts_on(broken, target, kind)
        for finding in verdict.findings
        if finding.rule == rule.id
    ]
    assert findings
    assert {finding.level for finding in findings} == {rule.level}
    assert findings[0].source == rule.source
    assert "{" not in findings[0].why + findings[0].fix
    assert "?" not in findings[0].why + findings[0].fix
    kept = verdicts_on(inside, target, kind)
    assert kept
    assert all(verdict.stays for verdict in kept), [verdict.findings for verdict in kept]
    assert all(finding.rule != rule.id for verdict in kept for finding in verdict.findings)
    assert any(met[0] == rule.id for verdict in kept for met in verdict.met)


@pytest.mark.parametrize(("target", "rule", "kind"), REFUSED, ids=_ids(REFUSED))
def test_a_refused_kind_is_reported(target: Target, rule: Rule, kind: str) -> None:
    verdicts = verdicts_on(one_layer(kind), target, kind)
    assert verdicts
    (finding,) = verdicts[-1].findings
    assert (finding.rule, finding.level, finding.source) == (rule.id, "leaves", rule.source)
    assert "{" not in finding.why + finding.fix


@pytest.mark.parametrize(
    ("target", "kind"), RUN, ids=[f"{target.name}:{kind}" for target, kind in RUN]
)
def test_a_supported_kind_passes(target: Target, kind: str) -> None:
    if any(kind in rule.on for rule in target.limits):
        return  # Its models at the limit pass above.
    verdicts = verdicts_on(one_layer(kind), target, kind)
    assert verdicts
    assert verdicts[-1].stays, verdicts[-1].findings


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_an_operator_in_no_table_is_unknown_and_counts_as_leaving(target: Target) -> None:
    layers = layers_of(graph_of(one_layer("MadeUp")))
    report = check_layers(layers, target)
    (verdict,) = [verdict for verdict in report.verdicts if verdict.layer.kind == "made.up::MadeUp"]
    assert verdict.status == "unknown"
    assert "is not in" in verdict.findings[0].why
    assert verdict in report.leaving
    (allowed,) = [
        verdict
        for verdict in check_layers(layers, target, allowed={"made.up::MadeUp"}).verdicts
        if verdict.layer.kind == "made.up::MadeUp"
    ]
    assert allowed.stays


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_kind_is_both_supported_and_refused(target: Target) -> None:
    refused = {kind for rule in target.refusals for kind in rule.on}
    assert not refused & set(target.runs)
    assert all(source for source in target.sources)
