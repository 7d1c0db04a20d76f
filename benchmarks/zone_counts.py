"""Compare the events of made videos with the truth, through the whole command line.

    python benchmarks/zone_counts.py /work/shared/data/dev/person_keypoints.json \
        /work/shared/data/dev/images --seeds 0 --seeds 1 --seeds 2

The videos of ``scene.py`` (real people on made paths) are the cameras of one ``cameras.toml``, each
with a zone in the middle and a line on its left, and are processed by ``slimpose live``. The truth
are the labeled ankles of the people, moved like them. "Counts right" is the share of frames in
which the zone's count is one that was true in the last 0.8 s: events wait until they are sure. The
last line is JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import machine
import scene
from cutouts import HEIGHT, WIDTH, read_cutouts

from slimpose.arrays import Size
from slimpose.cli.arguments import run
from slimpose.media.video_writer import VideoWriter

ZONE = (0.35, 0.65)
"""Left and right edge, as shares of the width."""
LINE = 0.2
_LATE_S = 0.8
_ANKLES = [15, 16]


def main(
    annotations: Path,
    images: Path,
    /,
    *,
    kind: str = "visits",
    seeds: tuple[int, ...] = (0, 1, 2),
    model: str = "hr",
    options: tuple[str, ...] = (),
) -> None:
    """Measure how often the events are the true ones.

    Args:
        annotations: COCO keypoint annotations, for the people in the videos.
        images: Folder of their images.
        kind: visits (people walk to the zone, stay, and leave) or crossings (they also cover each
            other, pass a pillar, and turn around).
        seeds: One video each.
        model: Pose model.
        options: Further options of slimpose live.
    """
    cutouts, backgrounds = read_cutouts(annotations, images)
    make = {"visits": scene.visits, "crossings": scene.crossings}[kind]
    videos = [make(cutouts, backgrounds[seed % len(backgrounds)], seed) for seed in seeds]
    figures = measure(videos, ["--model", model, *options])
    for seed, one in zip(seeds, figures, strict=True):
        print(f"seed {seed}:", ", ".join(f"{name} {value}" for name, value in one.items()))
    print(json.dumps({"videos": figures, "kind": kind, "model": model, **machine.about()}))


def measure(videos: Sequence[scene.SceneVideo], options: Sequence[str]) -> list[dict[str, Any]]:
    """Return true and found events of each video, all of them cameras of one run."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        truths = [write(video, folder / f"{index}.mp4") for index, video in enumerate(videos)]
        (folder / "cameras.toml").write_text("".join(map(_camera, range(len(videos)))))
        command = ["live", "--cameras", "cameras.toml", "--events", "events.jsonl", *options]
        program = [sys.executable, "-m", "slimpose", *command]
        subprocess.run(program, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [
        compare(
            truth,
            [event for event in events if event["camera"] == f"camera {index}"],
            fps=video.fps,
        )
        for index, (truth, video) in enumerate(zip(truths, videos, strict=True))
    ]


def write(video: scene.SceneVideo, path: Path) -> list[dict[int, float]]:
    """Write a video; return where each person stands in each frame, as a share of the width."""
    writer, feet = VideoWriter(path, Size(HEIGHT, WIDTH), fps=video.fps), []
    for time_s, image, truths in video.frames():
        writer.write(image, time_s)
        feet.append(
            {
                one.number: (float(one.joints_image[_ANKLES, 0].mean()) + 0.5) / WIDTH
                for one in truths
            }
        )
    writer.finish()
    return feet


def _camera(index: int) -> str:
    left, right = ZONE
    corners = [[left, 0], [right, 0], [right, 1], [left, 1]]
    return f"""[cameras."camera {index}"]
address = "{index}.mp4"
[cameras."camera {index}".zones.middle]
points = {corners}
[cameras."camera {index}".lines.door]
points = [[{LINE}, 0], [{LINE}, 1]]
"""


def compare(
    feet: Sequence[Mapping[int, float]], events: Sequence[Mapping[str, Any]], *, fps: float
) -> dict[str, Any]:
    """Return the true and the found numbers of events, and the share of frames counted right."""
    true: Counter[str] = Counter()
    counts = []
    before: Mapping[int, float] = {}
    for people in feet:
        counts.append(sum(ZONE[0] <= x <= ZONE[1] for x in people.values()))
        for number in people.keys() & before.keys():
            was_inside, is_inside = (ZONE[0] <= one[number] <= ZONE[1] for one in (before, people))
            true["enter"] += is_inside and not was_inside
            true["leave"] += was_inside and not is_inside
            true["in"] += before[number] > LINE >= people[number]  # downward: left is in
            true["out"] += before[number] < LINE <= people[number]
        before = people
    true["enter"] += sum(ZONE[0] <= x <= ZONE[1] for x in feet[0].values())
    wrong = _wrong_frames(counts, events, fps)
    found = Counter(event.get("direction", event["kind"]) for event in events)
    return {
        **{name: f"{found[name]} of {true[name]}" for name in ("enter", "leave", "in", "out")},
        "are_equal": all(found[name] == true[name] for name in ("enter", "leave", "in", "out")),
        "counts_right": round(1 - len(wrong) / len(counts), 4),
        "wrong_from_s": round(wrong[0] / fps, 1) if wrong else None,
        "most_people": max(counts),
    }


def _wrong_frames(
    counts: Sequence[int], events: Sequence[Mapping[str, Any]], fps: float
) -> list[int]:
    late = round(_LATE_S * fps)
    changes = [(event["time_s"], event["people"]) for event in events if event["kind"] == "count"]
    wrong = []
    for frame in range(len(counts)):
        shown = [people for time_s, people in changes if time_s <= frame / fps + 1e-6]
        recent = [0] * (frame < late) + [*counts[max(0, frame - late) : frame + 1]]
        if not min(recent) <= (shown[-1] if shown else 0) <= max(recent):
            wrong.append(frame)
    return wrong


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:], prog="python benchmarks/zone_counts.py"))
