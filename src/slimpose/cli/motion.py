"""``slimpose motion``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from slimpose.cli.console import plain_console
from slimpose.cli.counted import counted
from slimpose.cli.options import FrameOptions, ModelOptions
from slimpose.cli.output_paths import check_output_paths
from slimpose.cli.progress_bar import ProgressBar
from slimpose.media.sources import open_media
from slimpose.media.video_reader import silence_opencv_logs
from slimpose.motion import read, write
from slimpose.motion.angles import Angles, Facing, compute_angles
from slimpose.motion.cleaning import CleanMotion, CleanSettings, clean
from slimpose.motion.read import read_motions
from slimpose.motion.scale import Scale
from slimpose.motion.trajectory import Motion, select
from slimpose.motion.video import motions_of_video
from slimpose.motion.write import write_motion
from slimpose.runtime.foreign.skeletons import skeleton_named

_MOST_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleOptions:
    """Meters instead of pixels, and the directions of angles.

    Attributes:
        px_per_meter: Pixels per meter at the person.
        person_height_m: Height of the person, from which the scale follows.
        floor_angle_deg: Angle of the floor in the image, over 0 if it rises to the right; it
            becomes horizontal.
        facing: Where the person faces, for the signs of angles; auto finds it from the feet or the
            face.
    """

    px_per_meter: float | None = None
    person_height_m: float | None = None
    floor_angle_deg: float = 0.0
    facing: Facing = "auto"

    def __post_init__(self) -> None:
        if self.px_per_meter is not None and self.person_height_m is not None:
            raise ValueError("--px-per-meter and --person-height-m are two scales; expected one")
        Scale(px_per_meter=self.px_per_meter, floor_angle_deg=self.floor_angle_deg)

    def scale(self, motion: CleanMotion) -> Scale:
        """Return the scale of a motion."""
        if self.person_height_m is not None:
            return Scale.from_height(
                motion, self.person_height_m, floor_angle_deg=self.floor_angle_deg
            )
        return Scale(px_per_meter=self.px_per_meter, floor_angle_deg=self.floor_angle_deg)


def motion(
    poses: Path,
    /,
    out: Path,
    *,
    cleaning: CleanSettings,
    scaling: ScaleOptions,
    models: ModelOptions,
    selected: FrameOptions,
    person: Annotated[int | None, "--id"] = None,
    source: str | None = None,
    fps: float | None = None,
    skeleton: str | None = None,
    overwrite: bool = False,
) -> int:
    """Write the motion of one person: cleaned keypoints and angles, for OpenSim and other programs.

    POSES is a file of slimpose predict (.csv, .json, .jsonl), of bulk (.parquet), or a video. Gaps
    are filled, outliers removed, noise is smoothed without delay; joint and segment angles follow
    Sports2D's conventions. Files have a uniform rate. Needs pip install 'slimpose[motion]'.

    Args:
        poses: File of poses, or a video.
        out: File to write: .trc (markers for OpenSim), .c3d (markers), .mot (angles for OpenSim),
            .csv (markers and angles).
        cleaning: Cleaning.
        scaling: Scale.
        models: Models and how they run, for a video.
        selected: Which frames of a video are used.
        person: Id of the person; by default the one who is in the most frames.
        source: Source of the person, in files of several.
        fps: Frames per second of a .json file, which has no times.
        skeleton: Keypoints of a .json or .jsonl file, which does not name them: coco17, halpe26,
            wholebody133, openpose18, or a skeleton file (default: coco17).
        overwrite: Replace a file that exists.
    """
    if out.suffix.lower() not in write.SUFFIXES:
        raise ValueError(f"--out is {out}; expected a name ending in {', '.join(write.SUFFIXES)}")
    check_output_paths({"--out": out}, {}, [poses], overwrite=overwrite)
    if poses.suffix.lower() in read.SUFFIXES:
        if models != ModelOptions() or selected != FrameOptions():
            raise ValueError(
                f"options of models and of frames are about videos; {poses} has poses already"
            )
        motions = read_motions(
            poses, skeleton=skeleton_named(skeleton) if skeleton else None, fps=fps
        )
    else:
        if fps is not None or skeleton is not None:
            raise ValueError("--fps and --skeleton are about files of poses; expected no video")
        motions = _track(poses, models, selected)
    person_motion = select(motions, track_id=person, source=source)
    cleaned = clean(person_motion, cleaning)
    scale = scaling.scale(cleaned)
    angles = compute_angles(cleaned.joints, scale.points(cleaned), scaling.facing)
    write_motion(out, cleaned, scale=scale, angles=angles)
    for line in _report(motions, person_motion, cleaned, scale, angles):
        print(line)
    if out.suffix.lower() == ".mot" and any(np.isnan(one).any() for one in angles.degrees.values()):
        print("NOTE: angles in gaps are nan; OpenSim's GUI reads such a motion up to the first gap")
    print(f"written: {out}")
    return 0


def _track(path: Path, models: ModelOptions, selected: FrameOptions) -> list[Motion]:
    """Return the motions of the people in a video."""
    silence_opencv_logs()
    media = open_media(path, selected.range)
    if not media.is_video:
        raise ValueError(f"{path} is an image; expected a video or a file of poses")
    with ProgressBar(plain_console(stderr=True), inputs=1) as progress:
        progress.start_input(media)
        return motions_of_video(media, models.load(), on_frame=progress.advance_frame)


def _report(
    motions: list[Motion], person: Motion, cleaned: CleanMotion, scale: Scale, angles: Angles
) -> list[str]:
    """What was done and what is missing, in lines."""
    others = [one for one in motions if one is not person and one.source == person.source]
    lines = [
        f"{person.name}: {counted(len(person.times_s), 'frame')}, {cleaned.times_s[0]:g} to "
        f"{cleaned.times_s[-1]:g} s, written as {counted(len(cleaned.times_s), 'frame')} at "
        f"{cleaned.rate_hz:g} Hz"
    ]
    if others:
        found = ", ".join(f"{one.track_id} ({len(one.times_s)} frames)" for one in others[:20])
        lines.append(f"other people (--id): {found}{' ...' if len(others) > 20 else ''}")
    if cleaned.resampling:
        lines.append(f"NOTE: {cleaned.resampling}")
    lines.append(
        f"outliers removed: {cleaned.outliers}; keypoints filled in gaps: {cleaned.filled}"
    )
    if gaps := cleaned.gaps:
        longest = sorted(gaps, key=lambda gap: gap[1] - gap[2])[:_MOST_SHOWN]
        shown = ", ".join(f"{name} {first:.2f}-{last:.2f} s" for name, first, last in longest)
        rest = f" and {len(gaps) - len(longest)} more" if len(gaps) > len(longest) else ""
        lines.append(f"NOTE: {counted(len(gaps), 'gap')} left empty: {shown}{rest}")
    if scale.px_per_meter is None:
        lines.append("units: pixels (--person-height-m or --px-per-meter for meters)")
    else:
        lines.append(f"units: meters, {scale.px_per_meter:.1f} px per meter")
    lines.append(_facing_line(angles))
    if angles.missing:
        lacking: dict[str, list[str]] = {}
        for angle, keypoint in angles.missing.items():
            lacking.setdefault(keypoint, []).append(angle)
        parts = (f"{', '.join(names)} (no {keypoint})" for keypoint, names in lacking.items())
        lines.append(f"angles that the keypoints do not give: {'; '.join(parts)}")
    return lines


def _facing_line(angles: Angles) -> str:
    if not angles.is_facing_known:
        return (
            "NOTE: where the person faces is not clear (towards the camera?): angles as if to the "
            "right (--facing)"
        )
    share = float(angles.facing_left.mean())
    if share in (0.0, 1.0):
        return f"facing: {'left' if share else 'right'}"
    return f"facing: left in {100 * share:.0f} % of the frames, right in the others"
