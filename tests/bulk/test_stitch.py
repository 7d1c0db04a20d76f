"""Ids of neighboring pieces of a video are joined by poses."""

from __future__ import annotations

import numpy as np

from slimpose.bulk.stitch import match_ids
from slimpose.skeleton import COCO17
from walkers import poses_of


def two_walkers(frames: range, ids: tuple[int, int], *, noise_px: float = 0.0) -> dict:
    """Two people who walk through each other in the middle of 40 frames."""
    rng = np.random.default_rng(frames.start)
    return {
        frame: poses_of(
            [(100.0 + 10 * frame, 200.0), (500.0 - 10 * frame, 210.0)],
            ids=ids,
            noise_px=noise_px,
            rng=rng,
        )
        for frame in frames
    }


def test_people_who_cross_keep_their_ids() -> None:
    before = two_walkers(range(0, 30), (4, 9), noise_px=2.0)
    after = two_walkers(range(10, 60), (1, 2), noise_px=2.0)
    assert match_ids(before, after, COCO17) == {1: 4, 2: 9}
    crossed = two_walkers(range(10, 60), (2, 1), noise_px=2.0)
    assert match_ids(before, crossed, COCO17) == {2: 4, 1: 9}


def test_new_person_gets_no_id_of_another() -> None:
    before = two_walkers(range(0, 20), (1, 2))
    elsewhere = {frame: poses_of([(900.0, 200.0)], ids=[1]) for frame in range(10, 30)}
    assert match_ids(before, elsewhere, COCO17) == {}


def test_pieces_without_common_frames() -> None:
    before = two_walkers(range(0, 20), (1, 2))
    assert match_ids(before, two_walkers(range(20, 40), (1, 2)), COCO17) == {}
    assert match_ids({}, before, COCO17) == {}


def test_short_track_does_not_take_the_id_of_a_long_one() -> None:
    """A second track on the same person, for a few frames, has fewer frames in common."""
    before = {frame: poses_of([(200.0, 200.0)], ids=[7]) for frame in range(0, 30)}
    after = {
        frame: poses_of([(200.0, 200.0)], ids=[1 if frame < 14 else 2]) for frame in range(10, 40)
    }
    assert match_ids(before, after, COCO17) == {2: 7}
