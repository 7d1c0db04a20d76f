"""Write the result of a check as a self-contained HTML page without scripts, and as JSON."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from slimpose import geometry
from slimpose.arrays import Image, Size
from slimpose.draw import draw_dot, draw_poses
from slimpose.evaluate.error_analysis.crops import jpeg
from slimpose.formats.coco import CocoFile, CocoPerson
from slimpose.formats.files import write_json, write_text
from slimpose.labels.checks.check import CheckedFile
from slimpose.labels.checks.findings import ERRORS, MEANINGS, Finding, counts, suspicious
from slimpose.media.annotated_image import read_annotated_image
from slimpose.media.images import ImageError
from slimpose.poses import NOT_TRACKED, Poses
from slimpose.runtime.crops import crop_people
from slimpose.skeleton import Skeleton

PAGE, FINDINGS = "index.html", "findings.json"
SHOWN = 50
_PANEL = Size(288, 288)
_MARK = (240, 60, 200)
_LISTED = 200


def write(
    folder: Path,
    files: Sequence[CheckedFile],
    findings: Sequence[Finding],
    *,
    model: str | None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write the page, with the most suspicious labels as images, and all findings as JSON.

    Args:
        folder: Where ``index.html`` and ``findings.json`` are written.
        files: The checked files: train, and val if there is one.
        findings: All findings of them.
        model: Name of the model that the labels were compared with.
        on_progress: Called with (images drawn, all images).

    Returns:
        The page's path.

    Raises:
        ValueError: If the folder cannot be written to.
    """
    drawable = [one.file is not None and one.image_folder is not None for one in files]
    shown = [one for one in suspicious(findings) if drawable[-1 if one.is_val else 0]]
    shown = _one_per_instance(shown)[:SHOWN]
    figures = []
    for done, one in enumerate(shown, start=1):
        figures.append(_figure(_checked(files, one), one, findings))
        on_progress(done, len(shown))
    document = {
        "files": [str(one.path) for one in files],
        "model": model,
        "counts": counts(findings),
        "findings": [one.to_json() for one in findings],
    }
    write_json(folder / FINDINGS, document)
    write_text(folder / PAGE, _page(files, findings, figures, model))
    return folder / PAGE


def _checked(files: Sequence[CheckedFile], finding: Finding) -> CheckedFile:
    return files[-1] if finding.is_val else files[0]


def _one_per_instance(findings: Sequence[Finding]) -> list[Finding]:
    seen: dict[tuple[bool, int | None], Finding] = {}
    for one in findings:
        seen.setdefault((one.is_val, one.annotation_id), one)
    return list(seen.values())


def _page(
    files: Sequence[CheckedFile],
    findings: Sequence[Finding],
    figures: Sequence[str],
    model: str | None,
) -> str:
    names = " and ".join(escape(one.path.name) for one in files)
    numbers = counts(findings)
    rows = "".join(
        f"<tr{' class=zero' if not numbers[kind] else ''}><td>{kind}</td><td>{numbers[kind]}</td>"
        f"<td>{'fault' if kind in ERRORS else 'suspicious'}</td><td>{MEANINGS[kind]}</td></tr>"
        for kind in MEANINGS
    )
    used = f" Compared with {escape(model)}." if model else " Not compared with a model."
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Labels of {names}</title><style>{_STYLE}</style></head><body>
<h1>Labels of {names}</h1>
<p>{_summary(files)}{used} Faults are certain; suspicious labels are for a person to decide.</p>
<h2>Findings</h2><table><tr><th>kind</th><th>number</th><th></th><th>meaning</th></tr>{rows}</table>
<h2>The {len(figures)} most suspicious labels</h2>
<p class="note">The instance's own left side is orange, the right side is blue. Pink rings mark the
joints concerned.</p>
<div class="grid">{"".join(figures)}</div>
{"".join(map(_balance, files))}
<h2>All findings</h2>{_list(findings)}
</body></html>
"""


_STYLE = """
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;max-width:1120px;margin:2rem auto;padding:0 1rem;
color:#1c1c1a;background:#fff}
h1{font-size:1.6rem;margin:0 0 .5rem}h2{font-size:1.15rem;margin:2.2rem 0 .6rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:.15rem .6rem;border-bottom:1px solid #d8d8d4;text-align:left;vertical-align:top}
th{font-weight:600;color:#5c5c58}.zero{color:#9a9a96}.note{color:#5c5c58;font-size:.87rem}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(240px,1fr));gap:1rem}
figure{margin:0}figure img{width:100%;height:auto;display:block}
figcaption{font-size:.82rem;color:#5c5c58;overflow-wrap:anywhere}
.bar{display:inline-block;height:.7rem;background:#0072b2;vertical-align:-.05rem}
"""


def _summary(files: Sequence[CheckedFile]) -> str:
    parts = []
    for name, one in zip(("train", "val"), files, strict=False):
        if one.file is None:
            parts.append(f"{name}: {escape(str(one.path))} cannot be read.")
            continue
        instances = sum(person.is_labeled for person in one.file.people)
        parts.append(
            f"{name}: {escape(str(one.path))}, {len(one.file.images):,} images, {instances:,} "
            f"labeled instances of {len(one.file.skeleton.joints)} joints."
        )
    return " ".join(parts)


def _figure(checked: CheckedFile, finding: Finding, findings: Sequence[Finding]) -> str:
    assert checked.file is not None
    assert checked.image_folder is not None
    person = next((one for one in checked.file.people if one.id == finding.annotation_id), None)
    same = [
        one
        for one in findings
        if one.annotation_id == finding.annotation_id and one.is_val == finding.is_val
    ]
    text = "; ".join(f"<b>{one.kind}</b>: {escape(one.text)}" for one in same)
    name = f"annotation {finding.annotation_id}"
    image = None
    if person is not None:
        name = f"{checked.file.images[person.image_id].file_name}, {name}"
        joints = sorted({joint for one in same for joint in one.joints})
        image = _drawn(checked.file, checked.image_folder, person, joints)
    shown = ""
    if image is not None:
        data = base64.b64encode(jpeg(image)).decode()
        shown = f'<img src="data:image/jpeg;base64,{data}" alt="{escape(name)}">'
    return f"<figure>{shown}<figcaption>{escape(name)}: {text}</figcaption></figure>"


def _drawn(file: CocoFile, folder: Path, person: CocoPerson, joints: Sequence[int]) -> Image | None:
    """The crop around an instance with its labels; None if its image cannot be read."""
    keypoints = person.keypoints
    if keypoints is None or not person.is_labeled:
        return None
    try:
        image = read_annotated_image(file, folder, person.image_id)
    except (ImageError, ValueError):
        return None
    labeled = keypoints[keypoints[:, 2] > 0, :2]
    low = np.minimum(person.box_image[:2], labeled.min(axis=0) - 1)
    high = np.maximum(person.box_image[2:], labeled.max(axis=0) + 1)
    box = np.concatenate([low, high]).astype(np.float32)
    crops, to_crop = crop_people(image, box[None], _PANEL)
    points = geometry.transform_points(to_crop, keypoints[None, :, :2].astype(np.float32))
    corners = geometry.transform_points(to_crop, person.box_image.reshape(1, 2, 2))
    poses = _poses(points, keypoints[:, 2] > 0, corners.reshape(1, 4), file.skeleton)
    drawn = draw_poses(crops[0], poses, keypoint_threshold=0.5, boxes=True)
    for joint in joints:
        for radius, color in ((6.0, _MARK), (3.5, (255, 255, 255))):
            draw_dot(drawn, points[0, joint], color, radius)
    return drawn


def _poses(points: np.ndarray, labeled: np.ndarray, box: np.ndarray, skeleton: Skeleton) -> Poses:
    return Poses(
        points_image=points.astype(np.float32),
        scores=labeled[None].astype(np.float32),
        covariances_image=np.zeros((1, len(labeled), 2, 2), np.float32),
        boxes_image=box.astype(np.float32),
        person_scores=np.ones(1, np.float32),
        ids=np.full(1, NOT_TRACKED, np.int64),
        skeleton=skeleton,
    )


def _balance(checked: CheckedFile) -> str:
    balance = checked.balance
    if balance is None or checked.file is None or not balance.instances:
        return ""
    joints = "".join(
        f"<tr><td>{escape(name)}</td><td>{count:,}</td><td>{_bar(count / balance.instances)}</td>"
        f"<td>{100 * hidden:.0f} %</td></tr>"
        for name, count, hidden in balance.joints
    )
    sizes = "".join(
        f"<tr><td>{name}</td><td>{count:,}</td><td>{_bar(count / balance.instances)}</td></tr>"
        for name, count in balance.sizes
    )
    people = {one.id: one for one in checked.file.people}
    groups = []
    for group in balance.poses:
        image = None
        if checked.image_folder is not None:
            person = people[group.annotation_id]
            image = _drawn(checked.file, checked.image_folder, person, ())
        source = "" if image is None else base64.b64encode(jpeg(image)).decode()
        shown = f'<img src="data:image/jpeg;base64,{source}" alt="">' if source else ""
        groups.append(
            f"<figure>{shown}<figcaption>{100 * group.share:.0f} % like this</figcaption></figure>"
        )
    poses = f'<h3>Kinds of pose</h3><div class="grid">{"".join(groups)}</div>' if groups else ""
    return (
        f"<h2>What {escape(checked.path.name)} has much and little of</h2>"
        f"<table><tr><th>joint</th><th>labels</th><th></th><th>hidden</th></tr>{joints}</table>"
        f"<h3>Sizes</h3><table>{sizes}</table>{poses}"
    )


def _bar(share: float) -> str:
    return f'<span class="bar" style="width:{200 * min(1.0, share):.0f}px"></span>'


def _list(findings: Sequence[Finding]) -> str:
    ordered = sorted(findings, key=lambda one: (list(MEANINGS).index(one.kind), -one.suspicion))
    rows = "".join(
        f"<tr><td>{one.kind}</td><td>{'val' if one.is_val else 'train'}</td>"
        f"<td>{'' if one.image_id is None else one.image_id}</td>"
        f"<td>{'' if one.annotation_id is None else one.annotation_id}</td>"
        f"<td>{escape(one.text)}</td></tr>"
        for one in ordered[:_LISTED]
    )
    more = len(ordered) - _LISTED
    note = f'<p class="note">{more:,} more are in {FINDINGS}.</p>' if more > 0 else ""
    head = "<tr><th>kind</th><th>file</th><th>image</th><th>annotation</th><th>what</th></tr>"
    return f"<table>{head}{rows}</table>{note}"
