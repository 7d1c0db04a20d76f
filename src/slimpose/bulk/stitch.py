"""Joins the pieces of a video that were processed at once: one id per person.

Two neighboring pieces have the frames of their overlap in common. A person's poses in both are at
the same places there, so their ids are matched by the similarity of the poses (OKS).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from slimpose import geometry
from slimpose.bulk.storage import Storage
from slimpose.bulk.table import (
    FileFacts,
    LedgerEntry,
    frames_of_table,
    read_facts,
    read_table,
    write_table,
)
from slimpose.bulk.units import PIECES, Outcome, Unit
from slimpose.oks import oks_matrix
from slimpose.poses import Poses
from slimpose.skeleton import Skeleton
from slimpose.tracking.assignment import assign
from slimpose.tracking.boxes import AREA_PER_BOX_AREA

_LEAST_OKS = 0.5
"""Mean OKS, over the frames that both ids are in, at which they are one person."""

FramePoses = dict[int, Poses]
"""The people of each frame, by its number."""


def piece_file(unit: Unit, settings: str) -> str:
    """Return the name of the intermediate file of a piece."""
    return f"{unit.saved(PIECES, settings)}/piece-{unit.piece:05d}.parquet"


def match_ids(before: FramePoses, after: FramePoses, skeleton: Skeleton) -> dict[int, int]:
    """Return for ids of a piece the id of the same person in the piece before it, one to one.

    Only frames that are in both count.

    Args:
        before: The people of the piece before, in the overlap.
        after: The people of the piece, in the overlap.
        skeleton: Gives each joint's sigma.
    """
    total: defaultdict[tuple[int, int], float] = defaultdict(float)
    frames: defaultdict[tuple[int, int], int] = defaultdict(int)
    for frame in before.keys() & after.keys():
        a, b = before[frame], after[frame]
        areas = np.maximum(AREA_PER_BOX_AREA * geometry.box_areas(a.boxes_image), 1)
        oks = oks_matrix(a.points_image, b.points_image, areas.astype(np.float32), skeleton)
        for row, column in np.ndindex(oks.shape):
            pair = int(a.ids[row]), int(b.ids[column])
            total[pair] += float(oks[row, column])
            frames[pair] += 1
    ids_a, ids_b = (sorted({pair[axis] for pair in total}) for axis in range(2))
    similarity = np.zeros((len(ids_a), len(ids_b)), np.float32)
    for (a, b), value in total.items():
        if value / frames[a, b] >= _LEAST_OKS:  # the pair with most common frames is preferred
            similarity[ids_a.index(a), ids_b.index(b)] = value
    return {ids_b[column]: ids_a[row] for row, column in assign(similarity, _LEAST_OKS)}


def stitch(unit: Unit, storage: Storage, facts: FileFacts, skeleton: Skeleton) -> Iterator[Outcome]:
    """Write the parts of a video from its pieces, with ids 1, 2, ... in order of appearance."""
    entries: list[LedgerEntry] = []
    known: dict[int, int] = {}  # the final ids of the piece before
    overlap: FramePoses = {}
    newest = 0
    for piece in range(unit.pieces):
        one = replace(unit, piece=piece)
        name = piece_file(one, facts.settings)
        piece_facts, table = read_facts(storage, name), read_table(storage, name)
        assert piece_facts is not None
        entries += piece_facts.entries
        own = len(table) - piece_facts.entries[0].people
        head = {frame: poses for _, frame, _, poses in frames_of_table(table[:own], skeleton)}
        matched = match_ids(overlap, head, skeleton)
        ids = {local: known[before] for local, before in matched.items() if before in known}
        local_ids = table["track_id"].slice(own).unique().drop_null().to_pylist()
        for local in local_ids:
            if local not in ids:
                newest += 1
                ids[local] = newest
        is_last = piece + 1 == unit.pieces
        done = facts if not is_last else replace(facts, entries=[_whole(entries)])
        write_table(storage, unit.part(piece), _with_ids(table.slice(own), ids), done)
        known, overlap = ids, _tail(table, skeleton)
    for piece in range(unit.pieces):
        storage.remove(piece_file(replace(unit, piece=piece), facts.settings))
    whole = _whole(entries)
    yield Outcome(kind="done", source=whole.source, reason=whole.error)


def _tail(table: pa.Table, skeleton: Skeleton) -> FramePoses:
    return {frame: poses for _, frame, _, poses in frames_of_table(table, skeleton)}


def _with_ids(table: pa.Table, ids: dict[int, int]) -> pa.Table:
    renamed = pa.array(
        [None if one is None else ids[one] for one in table["track_id"].to_pylist()], pa.int64()
    )
    return table.set_column(table.schema.get_field_index("track_id"), "track_id", renamed)


def _whole(entries: list[LedgerEntry]) -> LedgerEntry:
    return replace(
        entries[0],
        frames=sum(entry.frames for entry in entries),
        people=sum(entry.people for entry in entries),
        error="; ".join(entry.error for entry in entries if entry.error),
    )
