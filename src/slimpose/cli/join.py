"""``slimpose join``."""

from __future__ import annotations

import json as json_text
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

from slimpose.cli.console import plain_console
from slimpose.cli.counted import counted
from slimpose.cli.output_paths import check_output_paths
from slimpose.formats import csv as csv_rows
from slimpose.formats import results
from slimpose.formats.partial_file import PartialFile

if TYPE_CHECKING:
    from slimpose.bulk.read import SourceResults


def join(
    folder: Annotated[str, "FOLDER"],
    source: Annotated[str, "SOURCE"],
    /,
    *,
    csv: Path | None = None,
    json: Path | None = None,
    overwrite: bool = False,
) -> int:
    """Join the Parquet files of one source of slimpose bulk into a file that other tools read.

    The files are those that slimpose predict writes for the source.

    Args:
        folder: The output folder of slimpose bulk, or its address.
        source: The source, as named in the results: its path in the folder of inputs.
        csv: File for the poses as CSV: one row per person, frame and keypoint.
        json: File for the poses as COCO keypoint results.
        overwrite: Replace files that exist.
    """
    from slimpose.bulk.read import open_source

    files = {"--csv": csv, "--json": json}
    if csv is None and json is None:
        raise ValueError(f"nothing to write; expected one of {', '.join(files)}")
    found = open_source(folder, source)
    check_output_paths(files, {}, [], overwrite=overwrite)
    if csv is not None:
        _write(PartialFile(csv, head=csv_rows.header()), _csv_rows, found)
    if json is not None:
        file = PartialFile(json, head=b"[\n", between=b",\n", tail=b"\n]\n")
        _write(file, _coco_records, found)
    entry = found.entry
    plain_console(stderr=False).print(
        f"{entry.source}: {counted(entry.frames, 'frame')}, {counted(entry.people, 'pose')}; "
        f"written: {', '.join(str(file) for file in files.values() if file is not None)}"
    )
    return 0


def _write(
    file: PartialFile, encode: Callable[[SourceResults], Iterator[bytes]], found: SourceResults
) -> None:
    try:
        for record in encode(found):
            file.append(record)
        file.finish()
    finally:
        file.discard()


def _csv_rows(found: SourceResults) -> Iterator[bytes]:
    name = PurePosixPath(found.entry.source).name
    for frame, time_s, poses in found.frames():
        yield csv_rows.rows(poses, source=name, camera=0, frame=frame, timestamp_s=time_s)


def _coco_records(found: SourceResults) -> Iterator[bytes]:
    name = Path(found.entry.source).name
    is_one_image = not found.entry.is_video and found.entry.frames == 1
    image_id = results.image_number(Path(name)) if is_one_image else None
    for frame, _, poses in found.frames():
        for record in results.records(poses, file_name=name, frame=frame, image_id=image_id):
            yield json_text.dumps(record).encode()
