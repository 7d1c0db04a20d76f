"""Processes units of work: reads frames, estimates poses as ``slimpose predict`` does, writes."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from slimpose.bulk.attempts import Attempts
from slimpose.bulk.inputs import BulkInput
from slimpose.bulk.settings import BulkSettings
from slimpose.bulk.stitch import piece_file, stitch
from slimpose.bulk.storage import OutputError, Storage
from slimpose.bulk.table import FileFacts, LedgerEntry, PeopleRows, write_table
from slimpose.bulk.units import POSES, STATES, Outcome, Unit
from slimpose.media.addresses import SourceError, plain_reason
from slimpose.media.frame import Frame, FrameRange, Media
from slimpose.media.sources import INPUT_ERRORS, open_media
from slimpose.media.video_reader import UnreadFramesError, silence_opencv_logs
from slimpose.runtime.follower import Follower

_LEAST_PIECES = 1.5
"""A video is cut if it is this many pieces long."""


@dataclass(slots=True, kw_only=True)
class _VideoState:
    """How far a video is: saved after each part, so that another worker goes on from there."""

    part: int = 0
    part_end_s: float = 0.0
    last_index: int = -1
    frames: int = 0
    frames_counted: int = 0  # those that earlier outcomes have reported
    people: int = 0
    follower: bytes = b""


class UnitWorker:
    """Processes units with models that are opened once.

    Args:
        settings: The settings of the run.
        out: The output folder's path or address.
    """

    def __init__(self, settings: BulkSettings, out: str) -> None:
        silence_opencv_logs()
        self.settings, self.storage = settings, Storage(out)
        self._digest = settings.digest()
        self._pipeline = settings.load()
        self._skeleton = self._pipeline.estimator.session.info.skeleton

    def process(self, unit: Unit) -> Iterator[Outcome]:
        """Process a unit; yield what came of it, after it was written."""
        try:
            attempts = Attempts(self.storage, unit)
            alive = [one for one in unit.inputs if not attempts.are_over(one.source)]
            yield from (_died(one) for one in unit.inputs if one not in alive)
            if unit.kind == "images":
                yield from self._images(replace(unit, inputs=alive), attempts)
            elif unit.kind == "stitch":
                yield from stitch(unit, self.storage, self.facts(), self._skeleton)
            elif alive:
                attempts.start(alive[0].source)
                is_video = unit.kind == "video"
                work = self._video(unit, attempts) if is_video else self._piece(unit)
                yield from self._one_input(unit, work)
            attempts.end()
        except OutputError as error:
            yield Outcome(kind="stopped", source=unit.inputs[0].source, reason=str(error))

    def facts(self, *entries: LedgerEntry) -> FileFacts:
        """Return the facts of a file with these entries."""
        return FileFacts(
            settings=self._digest, skeleton=self._skeleton.to_json(), entries=list(entries)
        )

    def _one_input(self, unit: Unit, outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
        """The outcomes; if the input fails, nothing of it is kept."""
        try:
            yield from outcomes
        except OutputError:
            raise
        except INPUT_ERRORS as error:
            for name in reversed(self.storage.names(f"{POSES}/{unit.name}")):
                self.storage.remove(name)
            self.storage.remove(self._state_name(unit))
            yield _failed(unit.inputs[0], error)

    def _images(self, unit: Unit, attempts: Attempts) -> Iterator[Outcome]:
        """Process images one by one; all of them are written in one file."""
        rows = PeopleRows(self._skeleton)
        entries: list[LedgerEntry] = []
        for one in unit.inputs:
            found, problems, frames = PeopleRows(self._skeleton), list[str](), 0
            attempts.start(one.source)
            try:
                with one.local_file() as path:
                    media = self._open(path)
                    follower = self._follower(media)
                    for frame in _frames(media, problems):
                        self._add_people(found, one, frame, follower)
                        frames += 1
            except INPUT_ERRORS as error:
                yield _failed(one, error)
                continue
            rows.extend(found)
            entries.append(_entry(one, media, frames, found.count, problems))
        if entries:
            write_table(self.storage, unit.part(0), rows.table(), self.facts(*entries))
        yield from map(_done, entries)

    def _video(self, unit: Unit, attempts: Attempts) -> Iterator[Outcome]:
        """Process a video; each part of it is written when it is full, with the state after it."""
        (one,), rows, problems = unit.inputs, PeopleRows(self._skeleton), list[str]()
        with one.local_file() as path:
            media = self._open(path)
            if (pieces := self._pieces(media)) > 1:
                yield Outcome(kind="cut", source=one.source, pieces=pieces)
                return
            follower, state = self._follower(media), self._saved_state(unit)
            if follower is not None and state.follower:
                follower.restore_state(state.follower)
            for frame in _frames(media, problems):
                if frame.index <= state.last_index:
                    continue
                if frame.timestamp_s >= state.part_end_s:
                    yield self._write_part(unit, rows, state, follower, frame.timestamp_s)
                    rows = PeopleRows(self._skeleton)
                    attempts.went_on(one.source)
                self._add_people(rows, one, frame, follower)
                state.last_index = frame.index
                state.frames += 1
        entry = _entry(one, media, state.frames, state.people + rows.count, problems)
        write_table(self.storage, unit.part(state.part), rows.table(), self.facts(entry))
        self.storage.remove(self._state_name(unit))
        yield _done(entry, already_counted=(state.frames_counted, state.people))

    def _write_part(
        self,
        unit: Unit,
        rows: PeopleRows,
        state: _VideoState,
        follower: Follower | None,
        next_s: float,
    ) -> Outcome:
        """Write a part of a video and, after it, the state from which the next one starts."""
        write_table(self.storage, unit.part(state.part), rows.table(), self.facts())
        frames = state.frames - state.frames_counted
        piece_s, start_s = self.settings.piece_s, self.settings.start_s
        state.part += 1
        state.part_end_s = start_s + piece_s * (math.floor((next_s - start_s) / piece_s) + 1)
        state.people += rows.count
        state.frames_counted = state.frames
        state.follower = b"" if follower is None else follower.save_state()
        self.storage.write(self._state_name(unit), pickle.dumps(state))
        return Outcome(kind="part", source=unit.inputs[0].source, frames=frames, people=rows.count)

    def _piece(self, unit: Unit) -> Iterator[Outcome]:
        """Process a piece of a video from some seconds before its start; see ``stitch``."""
        (one,), settings, problems = unit.inputs, self.settings, list[str]()
        assert settings.overlap_s is not None
        start_s = settings.start_s + unit.piece * settings.piece_s
        is_last = unit.piece + 1 == unit.pieces
        read = FrameRange(
            every=1,
            start_s=max(settings.start_s, start_s - settings.overlap_s if unit.piece else 0.0),
            end_s=settings.end_s if is_last else start_s + settings.piece_s,
        )
        rows, frames, first_row = PeopleRows(self._skeleton), 0, 0
        with one.local_file() as path:
            media = self._open(path, read)
            follower = self._follower(media)
            try:
                for frame in _frames(media, problems):
                    if frame.timestamp_s < start_s:
                        self._add_people(rows, one, frame, follower)
                        first_row = rows.count
                        continue
                    self._add_people(rows, one, frame, follower)
                    frames += 1
            except SourceError:
                if not unit.piece:
                    raise  # a later piece may have no frames: the header's duration is rounded
        entry = _entry(one, media, frames, rows.count - first_row, problems)
        write_table(self.storage, piece_file(unit, self._digest), rows.table(), self.facts(entry))
        yield Outcome(kind="part", source=one.source, frames=frames, people=entry.people)

    def _pieces(self, media: Media) -> int:
        """Into how many pieces a video is to be cut."""
        if self.settings.overlap_s is None or not media.is_video or not media.frame_count:
            return 1
        duration_s = media.frame_count / media.fps
        pieces = math.ceil(duration_s / self.settings.piece_s)
        return pieces if duration_s > _LEAST_PIECES * self.settings.piece_s else 1

    def _open(self, path: Path, read: FrameRange | None = None) -> Media:
        """Open an input; only the frames to process are read."""
        settings = self.settings
        fps = settings.fps and open_media(path).fps
        frames = settings.frames(video_fps=fps or 0.0)
        if read is not None:
            frames = FrameRange(every=frames.every, start_s=read.start_s, end_s=read.end_s)
        return open_media(path, frames)

    def _follower(self, media: Media) -> Follower | None:
        return self.settings.follower(self._pipeline) if media.is_video else None

    def _add_people(
        self, rows: PeopleRows, one: BulkInput, frame: Frame, follower: Follower | None
    ) -> None:
        """Estimate the poses of a frame as ``slimpose predict`` does, and add them."""
        if follower is None:
            poses, _ = self._pipeline.timed(frame.image)
        else:
            (poses,) = follower.step([frame])
        rows.add(poses, source=one.source, frame=frame.index, time_s=frame.timestamp_s)

    def _state_name(self, unit: Unit) -> str:
        return f"{unit.saved(STATES, self._digest)}.pickle"

    def _saved_state(self, unit: Unit) -> _VideoState:
        """The state after the last part that was written; of a new video, the first state."""
        data = self.storage.read(self._state_name(unit))
        if data is None:
            return _VideoState(part_end_s=self.settings.start_s + self.settings.piece_s)
        return pickle.loads(data)


def _frames(media: Media, problems: list[str]) -> Iterator[Frame]:
    """The frames; where some are missing the others count, and the problem is noted."""
    try:
        yield from media.frames
    except UnreadFramesError as error:
        problems.append(_reason(error, media.path))


def _entry(
    one: BulkInput, media: Media, frames: int, people: int, problems: list[str]
) -> LedgerEntry:
    return LedgerEntry(
        source=one.source,
        identity=one.identity,
        is_video=media.is_video,
        frames=frames,
        people=people,
        error="; ".join(problems),
    )


def _done(entry: LedgerEntry, *, already_counted: tuple[int, int] = (0, 0)) -> Outcome:
    return Outcome(
        kind="done",
        source=entry.source,
        frames=entry.frames - already_counted[0],
        people=entry.people - already_counted[1],
        reason=entry.error,
    )


def _died(one: BulkInput) -> Outcome:
    reason = "its worker died twice while it was processed (out of memory, or a decoder's fault?)"
    return Outcome(kind="failed", source=one.source, reason=reason)


def _failed(one: BulkInput, error: Exception) -> Outcome:
    return Outcome(kind="failed", source=one.source, reason=_reason(error, Path(one.address)))


def _reason(error: Exception, path: Path) -> str:
    """The reason without the path, which is known."""
    return plain_reason(error).replace(f"{path}: ", "", 1) or type(error).__name__
