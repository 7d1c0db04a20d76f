// The tracker (slimpose/tracking/tracker.py): ids of poses, expected boxes of the next frame.

import type { Pixels } from "../crops.js";
import { type Box, clipped, iou, isLarge, type Size } from "../geometry.js";
import type { Person, Skeleton } from "../poses.js";
import { colorHistogram, histogramSimilarity } from "./appearance.js";
import { assign } from "./assignment.js";
import { poseSimilarity } from "./association.js";
import { jointExtent, pairOks, poseQuality } from "./boxes.js";
import { FrameTimes } from "./frame_times.js";
import { type Observation, Track, type TrackerSettings } from "./tracks.js";

/** A track is not lost before the detector missed it this often in a row. */
const MIN_MISSED_DETECTIONS = 4;
/** An unconfirmed track is dropped when the detector missed it this often in a row. */
const NEW_MISSED_DETECTIONS = 2;
/** Tracks with boxes of more IoU overlap: the histograms must agree. */
const OVERLAP_IOU = 0.1;
/** Factor on a lost track's similarity; it falls with time. */
const LOST_FACTOR = 0.8;
/** Least weighted similarity of a pose that ends a loss. */
const MIN_LOST_SIMILARITY = 0.2;
/** A pose under this fraction of the track's usual quality requests the detector. */
const QUALITY_DROP = 0.6;

/** Source of a pose's box: a detection, a tracked person's expected box, a lost one's. */
export type Origin = "detected" | "tracked" | "coasted";

export interface ExpectedBox {
  box: Box;
  score: number;
  origin: Origin;
}

interface Row extends Observation {
  origin: Origin;
  /** Whether it or one of its duplicates is a detection. */
  isDetected: boolean;
}

/** Gives ids to the people of one camera. */
export class Tracker {
  /** In the last frame a person was lost or fitted much worse than usual. */
  needsDetection = false;
  private tracks: Track[] = [];
  private readonly times = new FrameTimes();

  constructor(
    private readonly skeleton: Skeleton,
    private readonly settings: TrackerSettings,
    private readonly newId: () => number,
  ) {}

  /** The expected boxes of tracked and recently lost people, clipped to the image. */
  expected(timestampS: number, size: Size): ExpectedBox[] {
    const boxes: ExpectedBox[] = [];
    for (const track of this.currentTracks(timestampS)) {
      const isLost = track.state === "lost";
      const isOver =
        track.requiresDetection || timestampS - track.lastMatchedS > this.settings.coastS;
      if (isLost && isOver) continue;
      const box = clipped(track.expectedBox(timestampS), size);
      const origin = isLost ? "coasted" : "tracked";
      if (isLarge(box)) boxes.push({ box, score: track.boxScore, origin });
    }
    return boxes;
  }

  /** The confirmed people of a frame with their ids, sorted by id; duplicates are allowed. */
  update(
    people: Person[],
    origins: Origin[],
    image: Pixels,
    timestampS: number,
    detectorRan: boolean,
  ): Person[] {
    this.tracks = this.currentTracks(timestampS);
    this.needsDetection = false;
    const isAfterGap = this.times.isAfterGap(timestampS);
    this.times.add(timestampS);
    const rows = this.withoutDuplicates(
      people.map((person, row) => ({
        person,
        origin: origins[row],
        quality: poseQuality(person.scores),
        histogram: colorHistogram(image, person, this.skeleton),
        isBoxDetected: origins[row] === "detected",
        isDetected: false,
      })),
    );
    const matches = this.associate(rows, timestampS);
    for (const [track, row] of matches) this.updateTrack(track, row, timestampS);
    const confirmed = [...matches].filter(([track]) => track.state === "tracked");
    if (detectorRan) this.applyDetection(timestampS);
    this.endUnmatched(new Set(matches.keys()), timestampS, image);
    const matched = new Set(matches.values());
    const unmatched = rows.filter((row) => !matched.has(row) && row.origin === "detected");
    unmatched.sort((a, b) => people.indexOf(a.person) - people.indexOf(b.person));
    for (const row of unmatched) {
      const track = this.start(row, timestampS, isAfterGap);
      if (track.state === "tracked") confirmed.push([track, row]);
    }
    return confirmed
      .map(([track, row]) => ({ ...row.person, id: track.id as number }))
      .sort((a, b) => a.id - b.id);
  }

  /** The tracks whose buffer has not expired; after a gap in the video, none. */
  private currentTracks(timestampS: number): Track[] {
    const bufferS = this.times.bufferS(timestampS, this.settings);
    return this.tracks.filter((track) => timestampS - track.lastMatchedS <= bufferS);
  }

  /** Drops poor poses and duplicates, and marks which of the others were detected. */
  private withoutDuplicates(rows: Row[]): Row[] {
    const { settings } = this;
    const order = rows
      .map((row) => ({
        row,
        isCoasted: row.origin === "coasted" ? 1 : 0,
        fit: row.quality * iou(row.person.box, jointExtent(row.person)),
      }))
      .sort((a, b) => a.isCoasted - b.isCoasted || b.fit - a.fit);
    const kept: Row[] = [];
    for (const { row, isCoasted } of order) {
      const minimum = isCoasted ? settings.confidentQuality : settings.minimumQuality;
      if (!row.person.points.every(Number.isFinite) || row.quality < minimum) continue;
      const duplicate = kept.find(
        (other) => pairOks(row.person, other.person, this.skeleton) > settings.duplicateOks,
      );
      if (!duplicate) kept.push(row);
      if (row.isBoxDetected) (duplicate ?? row).isDetected = true;
    }
    return kept;
  }

  /** Matches tracks and poses: confirmed tracks first, then new tracks with the other poses. */
  private associate(rows: Row[], timestampS: number): Map<Track, Row> {
    const pairs = new Map<Track, Row>();
    let left = rows;
    for (const isNew of [false, true]) {
      const tracks = this.tracks.filter((track) => (track.state === "new") === isNew);
      if (tracks.length === 0 || left.length === 0) continue;
      const candidates = left;
      for (const [a, b] of assign(this.similarities(tracks, candidates, timestampS), 1e-3)) {
        pairs.set(tracks[a], candidates[b]);
      }
      const matched = new Set(pairs.values());
      left = candidates.filter((row) => !matched.has(row));
    }
    return pairs;
  }

  /** Similarity of tracks and poses, lower for other colors and lost tracks; 0: no match. */
  private similarities(tracks: Track[], rows: Row[], timestampS: number): number[][] {
    const boxes = tracks.map((track) => track.expectedBox(timestampS));
    return tracks.map((track, index) => {
      const expected = {
        points: track.expectedPoints(timestampS),
        scores: track.scores,
        box: boxes[index],
      };
      // Where people overlap, poses drift from one to the other; their clothing does not.
      const overlaps = boxes.some(
        (box, other) => other !== index && iou(boxes[index], box) > OVERLAP_IOU,
      );
      return rows.map((row) => {
        const variance = track.positionVariance(timestampS);
        const similarity = poseSimilarity(expected, row.person, this.skeleton, variance);
        if (similarity < this.settings.minimumSimilarity) return 0;
        const appearance = histogramSimilarity(track.histogram, row.histogram);
        if (overlaps && appearance < this.settings.minimumAppearanceSimilarity) return 0;
        const weighted = similarity * Math.exp(-this.settings.appearanceWeight * (1 - appearance));
        return this.penalizedIfLost(weighted, track, row, timestampS);
      });
    });
  }

  /** Lowers the similarity of a lost track with time; 0 where a pose may not end the loss. */
  private penalizedIfLost(value: number, track: Track, row: Row, timestampS: number): number {
    if (track.state !== "lost") return value;
    const bufferS = Math.max(this.times.bufferS(timestampS, this.settings), 1e-6);
    const similarity = value * LOST_FACTOR * Math.exp((track.lastMatchedS - timestampS) / bufferS);
    const isUnconfident = row.quality < this.settings.confidentQuality;
    const isExcluded = !row.isBoxDetected && (track.requiresDetection || isUnconfident);
    return isExcluded || similarity < MIN_LOST_SIMILARITY ? 0 : similarity;
  }

  private updateTrack(track: Track, row: Row, timestampS: number): void {
    if (track.state === "tracked" && row.quality < QUALITY_DROP * track.quality) {
      this.needsDetection = true;
    }
    track.update(row, timestampS, row.isDetected);
    if (track.state === "lost") {
      track.state = "tracked";
    } else if (track.state === "new") {
      const isConfident = row.quality >= this.settings.confidentQuality || track.detections > 1;
      const isLongEnough = track.frames >= this.settings.minimumConsecutiveFrames;
      if (this.times.isSlow(timestampS) || (isLongEnough && isConfident)) this.confirm(track);
    }
  }

  private confirm(track: Track): void {
    track.state = "tracked";
    track.id = this.newId();
  }

  /** Loses tracks that the detector has missed for too long, however good their poses are. */
  private applyDetection(timestampS: number): void {
    for (const track of this.tracks) {
      if (track.lastDetectedS === timestampS) continue;
      track.missedDetections++;
      const isConfident = track.quality >= this.settings.confidentQuality;
      const bufferS = this.settings.unconfirmedBufferS * (isConfident ? 3 : 1);
      if (
        track.state === "tracked" &&
        timestampS - track.lastDetectedS > bufferS &&
        track.missedDetections >= MIN_MISSED_DETECTIONS
      ) {
        track.state = "lost";
        track.requiresDetection = true;
      }
    }
  }

  /** Loses unmatched tracks; ends unconfirmed ones and lost ones that have left the image. */
  private endUnmatched(matched: Set<Track>, timestampS: number, size: Size): void {
    this.tracks = this.tracks.filter((track) => {
      const isUnmatched = !matched.has(track);
      if (track.state === "new") {
        return !isUnmatched && track.missedDetections < NEW_MISSED_DETECTIONS;
      }
      if (isUnmatched && track.state === "tracked") {
        track.state = "lost";
        this.needsDetection = true;
      }
      if (track.state !== "lost") return true;
      const [x1, y1, x2, y2] = track.expectedBox(timestampS);
      const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
      return x >= 0 && x < size.width && y >= 0 && y < size.height;
    });
  }

  /** Starts a track; in the first frame, or after a gap, confident poses are confirmed. */
  private start(row: Row, timestampS: number, isAfterGap: boolean): Track {
    const track = new Track(row, timestampS);
    if (
      this.settings.minimumConsecutiveFrames === 1 ||
      (isAfterGap && row.quality >= this.settings.confidentQuality) ||
      this.times.isSlow(timestampS)
    ) {
      this.confirm(track);
    }
    this.tracks.push(track);
    return track;
  }
}
