"""Malformed images and videos; see ``fuzz_harness``."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fuzz_harness import Case, Kind, check
from fuzz_mutations import damaged_bytes
from image_files import encoded, noise
from run_cli import write_walk
from slimpose.arrays import Size
from slimpose.media.video_writer import VideoWriter
from synthetic_models import dot_image, write_detector_model, write_pose_model

pytest.importorskip("onnx")

OUTPUTS = ("p.json", "p.jsonl", "p.csv", "o", "m.mp4", "op")
IMAGES = (".jpg", ".png", ".webp", ".tiff", ".bmp", ".jp2", ".ppm", ".pgm", ".avif", ".hdr", ".ras")
ANIMATIONS = (".webp", ".png", ".gif", ".avif")
VIDEOS = ((".avi", "MJPG"), (".mp4", "mp4v"), (".mkv", "mp4v"), (".mov", "mp4v"), (".ts", "mpg2"))
NAMES = ("bad{}", "bad{}", "bad.jpg", "bad.mp4", "bad.bin", "bad", "bad:1{}", "bad%03d{}")


def prepare_images(folder: Path) -> None:
    """Write the models and good images, named by their format."""
    write_pose_model(folder / "pose.onnx")
    write_detector_model(folder / "detector.onnx")
    dot = dot_image(Size(48, 64), 30, 24)
    dark = noise(48, 64) // 8 + dot // 2
    for suffix in IMAGES:
        pixels = dark.astype(np.float32) / 255 if suffix == ".hdr" else dark
        pixels = pixels[..., 0] if suffix == ".pgm" else pixels
        if cv2.haveImageWriter(f"image{suffix}"):
            (folder / f"image{suffix}").write_bytes(encoded(suffix, pixels))
    (folder / "image16.png").write_bytes(encoded(".png", dot.astype(np.uint16) * 16))
    (folder / "camera.mjpeg").write_bytes(3 * encoded(".jpg", dark))
    cv2.imwritemulti(str(folder / "pages.tif"), [dark, dot, dark[:20]])
    if hasattr(cv2, "imwriteanimation"):
        animation = cv2.Animation()
        animation.frames, animation.durations = [dark, dot, dark], [40, 40, 40]
        for suffix in ANIMATIONS:
            cv2.imwriteanimation(str(folder / f"animation{suffix}"), animation)


def prepare_videos(folder: Path) -> None:
    """Write the models and good videos, named by their format."""
    write_pose_model(folder / "pose.onnx")
    write_detector_model(folder / "detector.onnx")
    for suffix, codec in VIDEOS:
        write_walk(folder / f"video{suffix}", 12, size=Size(48, 64), codec=codec)
    writer = VideoWriter(folder / "fragments.mp4", Size(48, 64), fps=25.0)
    for number in range(12):
        writer.write(dot_image(Size(48, 64), 20 + number, 24), number / 25)
    writer.finish()


def media_case(rng: random.Random, shared: Path) -> Case:
    """A damaged file under any name, for ``predict``, in part for ``live``."""
    good = rng.choice(sorted(path for path in shared.iterdir() if path.suffix != ".onnx"))
    name = rng.choice(NAMES).format(good.suffix)
    models = ["--model", str(shared / "pose.onnx"), "--detector", str(shared / "detector.onnx")]
    texts = ["--json", "p.json", "--jsonl", "p.jsonl", "--csv", "p.csv", "--openpose", "op"]
    call = ["predict", name, *models, "--threads", "1", *texts, "--out", "o"]
    if rng.random() < 0.2:
        call = ["live", name, *models, "--threads", "1", *texts, "--out", "o", "--mosaic", "m.mp4"]
    data = damaged_bytes(rng, good.read_bytes())
    return Case(files={name: data}, arguments=call, subject=name, outputs=OUTPUTS)


KINDS = (
    Kind(name="images", count=400, make=media_case, prepare=prepare_images),
    Kind(name="videos", count=240, make=media_case, prepare=prepare_videos),
)
Record = Callable[[str, object], None]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_tenth_damaged_file_is_read_or_rejected_in_one_line(
    kind: Kind, tmp_path: Path, record_property: Record
) -> None:
    check(kind, tmp_path, record_property, every=10)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_damaged_file_is_read_or_rejected_in_one_line(
    kind: Kind, tmp_path: Path, record_property: Record
) -> None:
    check(kind, tmp_path, record_property)
