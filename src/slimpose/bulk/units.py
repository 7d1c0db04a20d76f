"""The units of work of ``slimpose bulk``, and what comes of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from slimpose.bulk.inputs import BulkInput

POSES, STATES, PIECES = "poses", "_states", "_pieces"
"""Subfolders of the output folder: the results; where unfinished videos are; their pieces."""
MAX_IMAGES = 256
"""Images of a unit, and so of a Parquet file."""
_UNITS_PER_WORKER = 4
"""Small archives are divided into at least this many groups of images for each worker."""

Kind = Literal["images", "video", "piece", "stitch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Work for one worker.

    Attributes:
        kind: A group of images; a video; a piece of a video, or the joining of its pieces.
        name: Its folder below ``poses``.
        inputs: Its images, or its video.
        piece: Number of the piece.
        pieces: How many pieces the video has.
    """

    kind: Kind
    name: str
    inputs: list[BulkInput]
    piece: int = 0
    pieces: int = 1

    def to_json(self) -> str:
        """Return it as text."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Unit:
        """Return what ``to_json`` wrote."""
        document: dict[str, Any] = json.loads(text)
        return cls(**{**document, "inputs": [BulkInput(**one) for one in document["inputs"]]})

    def part(self, number: int) -> str:
        """Return the name of a Parquet file of the results."""
        return f"{POSES}/{self.name}/part-{number:05d}.parquet"

    def saved(self, folder: str, settings: str) -> str:
        """Return the start of the names of intermediate files of this video with these settings."""
        return f"{folder}/{self.name}-{_digest(self.inputs[0].identity + settings)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a source.

    Attributes:
        kind: It is done; a part of it is; it failed; it must be cut into pieces; or the run must
            stop, because nothing can be written.
        source: The source.
        frames: Frames that were processed.
        people: Rows that were written.
        reason: Why it failed, or what is wrong with it although it is done.
        pieces: Into how many pieces it is to be cut.
    """

    kind: Literal["done", "part", "failed", "cut", "stopped"]
    source: str
    frames: int = 0
    people: int = 0
    reason: str = ""
    pieces: int = 0


def units_of(inputs: list[BulkInput], *, workers: int) -> list[Unit]:
    """Return the units for inputs: videos first, as they take longest, then groups of images."""
    images = [one for one in inputs if one.is_image]
    videos = [one for one in inputs if not one.is_image]
    size = min(MAX_IMAGES, max(1, math.ceil(len(images) / (_UNITS_PER_WORKER * workers))))
    groups = [images[start : start + size] for start in range(0, len(images), size)]
    return [
        *(Unit(kind="video", name=video_name(one.source), inputs=[one]) for one in videos),
        *(Unit(kind="images", name=_group_name(group), inputs=group) for group in groups),
    ]


def pieces_of(video: BulkInput, pieces: int) -> list[Unit]:
    """Return the units for the pieces of a video."""
    name = video_name(video.source)
    return [
        Unit(kind="piece", name=name, inputs=[video], piece=piece, pieces=pieces)
        for piece in range(pieces)
    ]


def video_name(source: str) -> str:
    """Return the folder of a video's results.

    >>> video_name("hall/monday.mp4")
    'monday.mp4-3982f393'
    """
    name = re.sub(r"[^\w.-]", "_", PurePosixPath(source).name, flags=re.ASCII)[-80:]
    return f"{name}-{_digest(source)}"


def _group_name(group: list[BulkInput]) -> str:
    return f"images-{_digest(json.dumps([dataclasses.astuple(one) for one in group]))}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:8]
