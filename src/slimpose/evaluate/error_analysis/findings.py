"""Summary of an error analysis: sentences about the largest losses, and a short table."""

from __future__ import annotations

from slimpose.evaluate.error_analysis.analysis import ErrorAnalysis, JointStatistics
from slimpose.evaluate.error_analysis.groups import Grouping
from slimpose.evaluate.error_analysis.oracle import (
    FALSE_NEGATIVES,
    FALSE_POSITIVES,
    KINDS,
    SCORING,
    Oracle,
)

_MAX_SENTENCES = 3


def findings(analysis: ErrorAnalysis) -> list[str]:
    """Return sentences about what costs the most AP, the largest loss first."""
    by_gain = sorted(analysis.oracles, key=lambda row: -row.gain)
    sentences = [_kind_sentence(row) for row in by_gain if row.name in KINDS and row.count][:2]
    joints = sorted(analysis.joints, key=lambda row: -row.gain)[:_MAX_SENTENCES]
    named = ", ".join(f"{row.name} ({100 * row.gain:+.1f})" for row in joints if row.gain > 0)
    if named:
        sentences.append(
            f"Joints with the largest gain in AP if always correct in matched poses: {named}."
        )
    people = analysis.precision.people
    # The first grouping, COCO's own sizes, repeats the second.
    groups = [_worst_group(grouping, people) for grouping in analysis.groupings[1:]]
    for excess, sentence in sorted(groups, reverse=True)[:_MAX_SENTENCES]:
        if excess > 0.01:
            sentences.append(sentence)
    sentences += [
        _pose_sentence(row)
        for row in analysis.oracles
        if row.name in (FALSE_NEGATIVES, FALSE_POSITIVES, SCORING) and row.gain >= 0.01
    ]
    return sentences or ["Nothing is lost: every labeled joint is good."]


def _worst_group(grouping: Grouping, people: int) -> tuple[float, str]:
    """The group that loses most above its share of the people: by how much, and a sentence."""
    rows = [
        (row.lost_share - row.precision.people / people, row, row.precision)
        for row in grouping.rows
        if row.precision
    ]
    excess, row, figure = max(rows, key=lambda one: one[0])
    return excess, (
        f"People that lose more than their share ({grouping.name.lower()}: {row.name}): "
        f"AP {100 * figure.ap:.1f}; {figure.people / people:.0%} of the people, "
        f"{row.lost_share:.0%} of what is lost."
    )


def _kind_sentence(row: Oracle) -> str:
    return (
        f"Errors of the kind {row.name}: {row.count:,} of {row.total:,} labeled joints; "
        f"with these fixed, AP would be {100 * row.fixed_ap:.1f} ({100 * row.gain:+.1f})."
    )


def _pose_sentence(row: Oracle) -> str:
    count = f"{row.count:,} of {row.total:,}"
    condition = {
        FALSE_NEGATIVES: f"{count} people are matched with no pose; if they were found,",
        FALSE_POSITIVES: f"{count} poses are matched with no person; without them,",
        SCORING: "If the scores ranked the poses by their similarity to the ground truth,",
    }[row.name]
    return f"{condition} AP would be {100 * row.fixed_ap:.1f} ({100 * row.gain:+.1f})."


def short_table(analysis: ErrorAnalysis) -> str:
    """Return the main figures as lines of text: the oracles, and each joint."""
    whole = analysis.precision
    lines = [
        f"AP {100 * whole.ap:.1f}, AP50 {100 * whole.ap50:.1f}, AP75 {100 * whole.ap75:.1f}; "
        f"{whole.people:,} people, {analysis.labeled:,} labeled joints, {analysis.poses:,} poses",
        "",
        f"{'fixed':20s} {'count':>8s} {'share':>7s} {'AP':>6s} {'gain':>6s}",
    ]
    lines += [
        f"{row.name:20s} {row.count:8,d} {row.count / max(1, row.total):7.1%} "
        f"{100 * row.fixed_ap:6.1f} {100 * row.gain:+6.1f}"
        for row in analysis.oracles
    ]
    name_width = max(5, *(len(row.name) for row in analysis.joints))
    kinds = _shown_kinds(analysis)
    heads = " ".join(f"{kind:>{_width(kind)}s}" for kind in kinds)
    lines += ["", f"{'joint':{name_width}s} {'labels':>7s} {'AP':>6s} {heads} {'gain':>6s}"]
    lines += [_joint_line(row, name_width, kinds) for row in analysis.joints]
    return "\n".join(lines)


def _joint_line(row: JointStatistics, name_width: int, kinds: list[str]) -> str:
    ap = "-" if row.precision is None else f"{100 * row.precision.ap:.1f}"
    shares = " ".join(f"{row.kinds[kind]:{_width(kind)}.1%}" for kind in kinds)
    return f"{row.name:{name_width}s} {row.labeled:7,d} {ap:>6s} {shares} {100 * row.gain:+6.1f}"


def _shown_kinds(analysis: ErrorAnalysis) -> list[str]:
    """All kinds, without inversion if the skeleton has no left and right."""
    fixed = {row.name for row in analysis.oracles}
    return [kind for kind in KINDS if kind != "inversion" or kind in fixed]


def _width(kind: str) -> int:
    return max(6, len(kind))
