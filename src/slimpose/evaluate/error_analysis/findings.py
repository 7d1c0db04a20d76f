"""What an analysis says in words and in a short table: what to work on next."""

from __future__ import annotations

from slimpose.evaluate.error_analysis.analysis import ErrorAnalysis, JointStatistics
from slimpose.evaluate.error_analysis.groups import Grouping
from slimpose.evaluate.error_analysis.oracle import KINDS, Oracle

_MOST = 3


def findings(analysis: ErrorAnalysis) -> list[str]:
    """Return sentences about what costs most AP, the costliest first."""
    sentences = [_kind_sentence(row) for row in _kinds(analysis) if row.count][:2]
    joints = sorted(analysis.joints, key=lambda row: -row.gain)[:_MOST]
    named = ", ".join(f"{row.name} ({100 * row.gain:+.1f})" for row in joints if row.gain > 0)
    if named:
        sentences.append(
            f"Joints that would bring most AP if they were always right in matched poses: {named}."
        )
    people = analysis.precision.people
    groups = [
        _hardest(grouping, people) for grouping in analysis.groupings[1:]
    ]  # COCO's own sizes are the first
    for excess, sentence in sorted(groups, reverse=True)[:_MOST]:
        if excess > 0.01:
            sentences.append(sentence)
    sentences += [_other_sentence(row) for row in _others(analysis) if row.gain >= 0.01]
    return sentences or ["Nothing is lost: every labeled joint is good."]


def _hardest(grouping: Grouping, people: int) -> tuple[float, str]:
    """The row whose share of what is lost is most above its share of the people, by how much, and in words."""
    rows = [
        (row.lost_share - row.precision.people / people, row, row.precision)
        for row in grouping.rows
        if row.precision
    ]
    excess, row, figure = max(rows, key=lambda one: one[0])
    return excess, (
        f"People that lose more than their share ({grouping.name.lower()}: {row.name}): AP {100 * figure.ap:.1f}; "
        f"{figure.people / people:.0%} of the people, {row.lost_share:.0%} of what is lost."
    )


def _kinds(analysis: ErrorAnalysis) -> list[Oracle]:
    return sorted((row for row in analysis.oracles if row.name in KINDS), key=lambda row: -row.gain)


def _others(analysis: ErrorAnalysis) -> list[Oracle]:
    return [
        row
        for row in analysis.oracles
        if row.name in ("people not found", "false poses", "order of the poses")
    ]


def _kind_sentence(row: Oracle) -> str:
    return (
        f"Errors of the kind {row.name}: {row.count:,} of {row.total:,} labeled joints; "
        f"mended, AP would be {100 * row.fixed_ap:.1f} ({100 * row.gain:+.1f})."
    )


def _other_sentence(row: Oracle) -> str:
    what = {
        "people not found": f"{row.count:,} of {row.total:,} people are matched with no pose; found, AP would be",
        "false poses": f"{row.count:,} of {row.total:,} poses are matched with nobody; without them AP would be",
        "order of the poses": "If the poses' scores were in the order of their similarity to the truth, AP would be",
    }[row.name]
    return f"{what} {100 * row.fixed_ap:.1f} ({100 * row.gain:+.1f})."


def short_table(analysis: ErrorAnalysis) -> str:
    """Return the main figures as lines of text: what mending brings, and each joint."""
    whole = analysis.precision
    lines = [
        f"AP {100 * whole.ap:.1f}, AP50 {100 * whole.ap50:.1f}, AP75 {100 * whole.ap75:.1f}; "
        f"{whole.people:,} people, {analysis.labeled:,} labeled joints, {analysis.poses:,} poses",
        "",
        f"{'mended':20s} {'count':>8s} {'share':>7s} {'AP':>6s} {'gain':>6s}",
    ]
    lines += [
        f"{row.name:20s} {row.count:8,d} {row.count / max(1, row.total):7.1%} {100 * row.fixed_ap:6.1f} {100 * row.gain:+6.1f}"
        for row in analysis.oracles
    ]
    names = [len(row.name) for row in analysis.joints]
    wide = max(5, *names)
    kinds = _shown_kinds(analysis)
    heads = " ".join(f"{kind:>{_width(kind)}s}" for kind in kinds)
    lines += ["", f"{'joint':{wide}s} {'labels':>7s} {'AP':>6s} {heads} {'gain':>6s}"]
    lines += [_joint_line(row, wide, kinds) for row in analysis.joints]
    return "\n".join(lines)


def _joint_line(row: JointStatistics, wide: int, kinds: list[str]) -> str:
    ap = "-" if row.precision is None else f"{100 * row.precision.ap:.1f}"
    shares = " ".join(f"{row.kinds[kind]:{_width(kind)}.1%}" for kind in kinds)
    return f"{row.name:{wide}s} {row.labeled:7,d} {ap:>6s} {shares} {100 * row.gain:+6.1f}"


def _shown_kinds(analysis: ErrorAnalysis) -> list[str]:
    """No inversions where the skeleton has no left and right."""
    mended = {row.name for row in analysis.oracles}
    return [kind for kind in KINDS if kind != "inversion" or kind in mended]


def _width(kind: str) -> int:
    return max(6, len(kind))
