"""Write an error analysis as a self-contained HTML page without scripts, and as JSON."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from slimpose.evaluate.error_analysis.analysis import (
    PCK_COARSE,
    PCK_FINE,
    ErrorAnalysis,
    WorstPerson,
)
from slimpose.evaluate.error_analysis.crops import KIND_COLORS, jpeg, side_by_side
from slimpose.evaluate.error_analysis.findings import findings
from slimpose.evaluate.error_analysis.groups import Grouping
from slimpose.evaluate.error_analysis.matching import AveragePrecision
from slimpose.evaluate.error_analysis.oracle import (
    GOOD,
    GOOD_FROM,
    KINDS,
    MATCHED_FROM,
    NEAR_FROM,
    UNLABELED,
)
from slimpose.formats.coco import CocoFile
from slimpose.formats.files import write_json, write_text
from slimpose.media.images import read_image
from slimpose.skeleton import Skeleton

PAGE, FIGURES = "index.html", "analysis.json"
_NONE = "&ndash;"


def write(
    folder: Path,
    analysis: ErrorAnalysis,
    annotations: CocoFile,
    image_folder: Path,
    *,
    model: str,
    protocol: str,
) -> Path:
    """Write the page with its images embedded, and the figures next to it; return the page's path.

    Its header names the model and how it was evaluated: boxes, flip test, decoding.

    Raises:
        ImageError: If an image is missing or broken.
        ValueError: If the folder cannot be written to.
    """
    figures = [_figure(person, annotations, image_folder) for person in analysis.worst]
    about = {"model": model, "protocol": protocol, "annotations": str(annotations.path)}
    write_json(folder / FIGURES, about | analysis.to_json())
    write_text(folder / PAGE, _page(analysis, figures, **about))
    return folder / PAGE


def _page(
    analysis: ErrorAnalysis, figures: Sequence[str], *, model: str, protocol: str, annotations: str
) -> str:
    whole = analysis.precision
    title = escape(f"Where {model} loses AP")
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in findings(analysis))
    groupings = "".join(map(_grouping, analysis.groupings))
    legend = _legend(analysis.skeleton)
    bar = _bar({kind: n / max(1, analysis.labeled) for kind, n in analysis.kinds.items()})
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{_STYLE}</style></head><body>
<h1>{title}</h1>
<p>{escape(annotations)}; {escape(protocol)}: {whole.people:,} people with
{analysis.labeled:,} labeled joints, {analysis.poses:,} poses. <b>AP {_percent(whole.ap)}</b>, AP50
{_percent(whole.ap50)}, AP75 {_percent(whole.ap75)}. All figures are in percent.</p>
<h2>What to work on</h2><ul>{items}</ul>
<h2>Kinds of error</h2><div class="big">{bar}</div>{legend}{_oracle_table(analysis)}
<p class="note">AP with the errors of one kind fixed, each kind alone, with everything matched and
counted again. Fixed joints are moved to their true positions, so a gain is the most that work on
the kind can bring. The gains do not add up.</p>
<h2>By joint</h2>{_joint_table(analysis)}
<p class="note">AP: COCO's, of the same files with every other joint unlabeled. Within {PCK_FINE:g}
and {PCK_COARSE:g}: share of the labels with the predicted joint at most that far away, in roots of
the person's area; visible and hidden: the same within {PCK_FINE:g}, of labels marked so. Gain: the
gain in AP of whole poses if the joint were always correct in matched poses.</p>
<h2>By person</h2><div class="groups">{groupings}</div>
<p class="note">AP of the people of one group: all others are ignored, and so are poses that are
matched with them, or that match no person and are nearest to them. Lost: the number of people times
(1 - AP), as a share of the table's sum.</p>
<h2>The {len(figures)} worst people</h2>
<p class="note">Most joints lost first: (1 - OKS) times the number of labeled joints. Left: the
ground truth. Right: the predicted pose. The person's own left side is orange, the right side is
blue; a dark center marks a hidden joint. A line leads from each wrong joint to its true position,
in the color of its kind.</p>{legend}<div class="worst">{"".join(figures)}</div>
<h2>Definitions</h2>{_DEFINITIONS}
</body></html>
"""


_STYLE = """
:root{color-scheme:light;--line:#d8d8d4;--dim:#5c5c58}
body{font:15px/1.5 system-ui,sans-serif;max-width:1120px;margin:2rem auto;padding:0 1rem;
color:#1c1c1a;background:#fff}
h1{font-size:1.6rem;margin:0 0 .5rem}
h2{font-size:1.15rem;margin:2.2rem 0 .6rem}h3{font-size:1rem;margin:.6rem 0 .1rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.4rem 0}
td,th{padding:.15rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th{font-weight:600;color:var(--dim)}td:first-child,th:first-child{text-align:left;padding-left:0}
.note{color:var(--dim);font-size:.87rem;max-width:75ch}.wide{overflow-x:auto}
.groups{display:grid;grid-template-columns:repeat(auto-fill,minmax(340px,1fr));gap:1rem 2rem}
.bar{display:flex;height:.9rem;min-width:9rem;background:#eee}.bar span{display:block;height:100%}
.big .bar{height:1.6rem}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;font-size:.87rem;margin:.4rem 0}
.legend i{display:inline-block;width:.8rem;height:.8rem;margin-right:.35rem;vertical-align:-.1rem}
.worst{display:grid;grid-template-columns:repeat(auto-fill,minmax(480px,1fr));gap:1.2rem}
figure{margin:0}figure img{width:100%;height:auto;display:block}
figcaption{font-size:.82rem;color:var(--dim);overflow-wrap:anywhere}
dt{font-weight:600}dd{margin:0 0 .5rem}
@media(max-width:560px){.worst{grid-template-columns:1fr}}
"""

_DEFINITIONS = f"""<dl class="note">
<dt>Similarity of a joint (ks)</dt><dd>exp(-d² / (2 · area · (2 sigma)²)): d the distance to the
true position in pixels, area the annotated area of the person, sigma the joint's constant. OKS is
its mean over a person's labeled joints.</dd>
<dt>Matched</dt><dd>Poses, best score first, each take the free person of highest OKS, at least
{MATCHED_FROM:g}, as COCO does at its thresholds. The joints of matched people are of the kinds
below; those of the others are "not found".</dd>
<dt>Good</dt><dd>ks of {GOOD_FROM:g} or more.</dd>
<dt>Jitter</dt><dd>ks from {NEAR_FROM:g} to {GOOD_FROM:g}.</dd>
<dt>Inversion</dt><dd>ks under {NEAR_FROM:g}, but {NEAR_FROM:g} or more to the person's own mirrored
joint (left and right confused).</dd>
<dt>Swap</dt><dd>ks under {NEAR_FROM:g}, but {NEAR_FROM:g} or more to the same or the mirrored joint
of another person; an inversion if that is at least as similar.</dd>
<dt>Miss</dt><dd>ks under {NEAR_FROM:g} to all of these.</dd>
<dt>Hidden joints</dt><dd>Jitters, inversions, swaps and misses of joints labeled as hidden.</dd>
<dt>People not found, false positives, scoring</dt><dd>AP if every person without a match had a true
pose, scored first; if poses that match no person were removed (which can cost a little, since some
match at a higher threshold); if each pose's score were its OKS to the person it is matched
with.</dd></dl>
<p class="note">Kinds after Ronchi and Perona, "Benchmarking and Error Diagnosis in Multi-Instance
Pose Estimation", ICCV 2017. There, fixed joints keep an error; here they keep none.</p>"""


def _percent(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return _NONE
    return f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; the cells are HTML."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    table = f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _precision_cells(figure: AveragePrecision | None) -> list[str]:
    if figure is None:
        return ["0", _NONE, _NONE, _NONE]
    return [f"{figure.people:,}", _percent(figure.ap), _percent(figure.ap50), _percent(figure.ap75)]


def _oracle_table(analysis: ErrorAnalysis) -> str:
    rows = [
        [
            escape(row.name),
            f"{row.count:,}",
            f"{row.total:,}",
            _percent(row.count / row.total if row.total else None),
            _percent(row.fixed_ap),
            _percent(row.gain, signed=True),
        ]
        for row in analysis.oracles
    ]
    return _table(["fixed", "count", "of", "share", "AP would be", "gain"], rows)


def _joint_table(analysis: ErrorAnalysis) -> str:
    within = [f"within {PCK_FINE:g}", f"within {PCK_COARSE:g}"]
    head = ["joint", "labels", "AP", "AP50", "AP75", *within, "visible", "hidden", "kinds", "gain"]
    rows = []
    for row in analysis.joints:
        shares = [row.pck_fine, row.pck_coarse, row.pck_visible, row.pck_hidden]
        cells = [
            escape(row.name),
            f"{row.labeled:,}",
            *_precision_cells(row.precision)[1:],
            *map(_percent, shares),
        ]
        rows.append([*cells, _bar(row.kinds), _percent(row.gain, signed=True)])
    return _table(head, rows)


def _grouping(grouping: Grouping) -> str:
    rows = [
        [escape(row.name), *_precision_cells(row.precision), _percent(row.lost_share)]
        for row in grouping.rows
    ]
    table = _table(["", "people", "AP", "AP50", "AP75", "lost"], rows)
    explanation = f'<p class="note">{escape(grouping.explanation)}</p>'
    return f"<div><h3>{escape(grouping.name)}</h3>{explanation}{table}</div>"


def _bar(shares: dict[str, float]) -> str:
    parts = "".join(
        f'<span style="width:{100 * shares[kind]:.2f}%;background:{_color(number)}" '
        f'title="{kind} {_percent(shares[kind])} %"></span>'
        for number, kind in enumerate(KINDS)
        if shares[kind] > 0
    )
    return f'<div class="bar">{parts}</div>'


def _legend(skeleton: Skeleton) -> str:
    has_sides = any(other != joint for joint, other in enumerate(skeleton.flip_indices))
    marks = "".join(
        f'<span><i style="background:{_color(number)}"></i>{kind}</span>'
        for number, kind in enumerate(KINDS)
        if has_sides or kind != "inversion"
    )
    return f'<div class="legend">{marks}</div>'


def _color(kind: int) -> str:
    red, green, blue = KIND_COLORS[kind]
    return f"#{red:02x}{green:02x}{blue:02x}"


def _figure(person: WorstPerson, annotations: CocoFile, image_folder: Path) -> str:
    name = annotations.images[person.image_id].file_name
    data = jpeg(side_by_side(read_image(image_folder / name), person, annotations.skeleton))
    source = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    caption = escape(
        f"{name}, annotation {person.person_id}: {_error_text(person, annotations.skeleton)}"
    )
    return (
        f'<figure><img src="{source}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'
    )


def _error_text(person: WorstPerson, skeleton: Skeleton) -> str:
    labeled = int((person.kinds != UNLABELED).sum())
    if person.points_predicted is None:
        return f"no pose in this image; {labeled} joints are labeled"
    if not person.is_matched:
        return (
            f"not found; the most similar pose has OKS {person.oks:.2f}; "
            f"{labeled} joints are labeled"
        )
    wrong = [
        f"{kind} {', '.join(skeleton.joints[joint] for joint in joints)}"
        for index, kind in enumerate(KINDS)
        if index != GOOD
        and len(joints := [joint for joint, one in enumerate(person.kinds) if one == index])
    ]
    return f"OKS {person.oks:.2f}, {labeled} joints labeled; {'; '.join(wrong) or 'all good'}"
