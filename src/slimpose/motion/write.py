"""Motion files: TRC and MOT of OpenSim, C3D, CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from slimpose.formats.files import as_utf8, replace_when_done, write_bytes
from slimpose.messages import quoted
from slimpose.motion.angles import Angles
from slimpose.motion.cleaning import CleanMotion
from slimpose.motion.scale import Scale

SUFFIXES = (".trc", ".c3d", ".mot", ".csv")
_MAX_C3D_FRAMES = 65_535
_LONGEST_C3D_NAME = 127
_C3D_BLOCK = 512


def write_motion(path: Path, motion: CleanMotion, *, scale: Scale, angles: Angles) -> None:
    """Write a motion; the name's suffix says in which format. Gaps are nan, empty in CSV.

    - .trc: the keypoints as markers (x, y, 0), y up, in the scale's unit.
    - .c3d: the same. C3D has no start time: its first frame is at 0 s.
    - .mot: the angles in degrees. Not all of OpenSim's readers accept nan.
    - .csv: both: time_s, x and y of each keypoint in the scale's unit, angles in degrees.

    Raises:
        ValueError: If the suffix is another one, or the format cannot hold the motion.
        ModuleNotFoundError: If ezc3d is not installed and C3D is written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path} is of another kind; expected one of {', '.join(SUFFIXES)}")
    if suffix == ".trc":
        write_bytes(path, _trc(path.name, motion, scale))
    elif suffix == ".c3d":
        _write_c3d(path, motion, scale)
    elif suffix == ".mot":
        if not angles.degrees:
            raise ValueError(
                f"{motion.name} has no angles: its skeleton lacks {_lacking(angles)}; expected the "
                "keypoints of a person for .mot (.trc, .c3d and .csv hold any)"
            )
        write_bytes(path, _mot(path.stem, motion, angles.degrees))
    else:
        write_bytes(path, _csv(motion, scale, angles.degrees))


def _lacking(angles: Angles) -> str:
    return ", ".join(dict.fromkeys(angles.missing.values()))


def _labels(names: tuple[str, ...]) -> list[str]:
    """Return names without white space, which separates the columns of files.

    Raises:
        ValueError: If two become one.
    """
    labels = ["_".join(name.split()) for name in names]
    if len(set(labels)) < len(labels):
        raise ValueError(f"the keypoints {quoted(names)} differ by white space only; expected more")
    return labels


def _trc(name: str, motion: CleanMotion, scale: Scale) -> bytes:
    points = scale.points(motion)
    frames, joints = points.shape[:2]
    rate = f"{motion.rate_hz:.9g}"
    axes = "\t".join(f"X{n}\tY{n}\tZ{n}" for n in range(1, joints + 1))
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\t"
        "OrigNumFrames",
        f"{rate}\t{rate}\t{frames}\t{joints}\t{scale.unit}\t{rate}\t1\t{frames}",
        "Frame#\tTime\t" + "\t\t\t".join(_labels(motion.joints)) + "\t\t",
        f"\t\t{axes}",
        "",
    ]
    for frame, (time_s, row) in enumerate(zip(motion.times_s, points, strict=True), start=1):
        markers = "\t".join(
            "nan\tnan\tnan" if math.isnan(x) else f"{x:.6f}\t{y:.6f}\t0" for x, y in row
        )
        lines.append(f"{frame}\t{time_s:.6f}\t{markers}")
    return as_utf8("\n".join(lines) + "\n")


def _mot(name: str, motion: CleanMotion, degrees: Mapping[str, Float64[np.ndarray, " n"]]) -> bytes:
    lines = [
        name,
        "version=1",
        f"nRows={len(motion.times_s)}",
        f"nColumns={len(degrees) + 1}",
        "inDegrees=yes",
        "",
        "endheader",
        "\t".join(["time", *degrees]),
    ]
    for row, time_s in enumerate(motion.times_s):
        values = "\t".join(f"{values[row]:.6f}" for values in degrees.values())
        lines.append(f"{time_s:.6f}\t{values}")
    return as_utf8("\n".join(lines) + "\n")


def _csv(
    motion: CleanMotion, scale: Scale, degrees: Mapping[str, Float64[np.ndarray, " n"]]
) -> bytes:
    points = scale.points(motion)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            "time_s",
            *(f"{joint}_{axis}_{scale.unit}" for joint in motion.joints for axis in "xy"),
            *(f"{name}_deg" for name in degrees),
        ]
    )
    for row, time_s in enumerate(motion.times_s):
        values = [*points[row].ravel(), *(values[row] for values in degrees.values())]
        cells = ("" if math.isnan(value) else f"{value:.6f}" for value in values)
        writer.writerow([f"{time_s:.6f}", *cells])
    return as_utf8(text.getvalue())


def _write_c3d(path: Path, motion: CleanMotion, scale: Scale) -> None:
    import ezc3d

    points = scale.points(motion)
    frames, joints = points.shape[:2]
    if frames > _MAX_C3D_FRAMES:
        raise ValueError(
            f"{motion.name} has {frames} frames; C3D holds {_MAX_C3D_FRAMES} (expected a part of "
            "the video, or .trc)"
        )
    if any(len(joint.encode()) > _LONGEST_C3D_NAME for joint in motion.joints):
        raise ValueError(
            f"a keypoint has a name of over {_LONGEST_C3D_NAME} bytes; expected a shorter one"
        )
    is_empty = np.isnan(points[..., 0]).T
    data = np.zeros((4, joints, frames))
    data[:2] = np.where(np.isnan(points), 0, points).transpose(2, 1, 0)
    data[3] = 1
    data[:3, is_empty] = np.nan
    c3d = ezc3d.c3d()
    c3d["parameters"]["POINT"]["RATE"]["value"] = [motion.rate_hz]
    c3d["parameters"]["POINT"]["LABELS"]["value"] = _labels(motion.joints)
    c3d["parameters"]["POINT"]["UNITS"]["value"] = [scale.unit]
    c3d["data"]["points"] = data
    c3d["data"]["meta_points"]["residuals"] = np.where(is_empty, -1.0, 0.0)[None]
    with replace_when_done(path) as partial:
        c3d.write(str(partial))
        _check_c3d(partial, path, points_bytes=16 * joints * frames)


def _check_c3d(written: Path, path: Path, *, points_bytes: int) -> None:
    """Reject a file that is cut off: ezc3d does not report a full disk."""
    with written.open("rb") as file:
        header = file.read(_C3D_BLOCK)
    first_block = int.from_bytes(header[16:18], "little")
    expected = _C3D_BLOCK * max(first_block - 1, 1) + points_bytes
    if (size := written.stat().st_size) < expected:
        raise ValueError(
            f"cannot write {path}: it has {size} bytes; expected {expected} (is the disk full?)"
        )
