// One track, the state of one person over time (slimpose/tracking/tracks.py).

import type { Box } from "../geometry.js";
import { type Person, personScore } from "../poses.js";
import { type Histogram, isKnown } from "./appearance.js";
import { fittedBox, personSizePx } from "./boxes.js";
import { fitShiftScale, MotionModel, movedBox } from "./motion_model.js";

/** When tracks are started, confirmed, lost and ended; as `TrackerSettings` in Python. */
export interface TrackerSettings {
  /** A new person gets an id after this many consecutive frames. */
  minimumConsecutiveFrames: number;
  /** The id of a lost person is kept for this long. */
  lostTrackBufferS: number;
  /** After a loss, the pose model runs at the expected place for this long. */
  coastS: number;
  /** Least similarity of a pose and a track's expected pose, over 0. */
  minimumSimilarity: number;
  /** Two poses of a frame with a higher OKS are one person. */
  duplicateOks: number;
  /** Poses with a lower quality are dropped. */
  minimumQuality: number;
  /** A pose with at least this quality needs fewer detections. */
  confidentQuality: number;
  /** A person missed by the detector for this long is lost; three times as long if confident. */
  unconfirmedBufferS: number;
  /** Weight of different colors. */
  appearanceWeight: number;
  /** Least histogram similarity where another person's box overlaps. */
  minimumAppearanceSimilarity: number;
}

export const DEFAULT_TRACKER: TrackerSettings = {
  minimumConsecutiveFrames: 3,
  lostTrackBufferS: 3,
  coastS: 1.5,
  minimumSimilarity: 0.35,
  duplicateOks: 0.7,
  minimumQuality: 0.3,
  confidentQuality: 0.5,
  unconfirmedBufferS: 3,
  appearanceWeight: 5,
  minimumAppearanceSimilarity: 0.8,
};

/** A pose with this fraction of the usual quality is reliable. */
const RELIABLE_FRACTION = 0.9;
/** Time constant of the average of the quality. */
const QUALITY_TIME_S = 1.5;
/** Weight of a new histogram in the average. */
const HISTOGRAM_RATE = 0.1;

/** Confirmed and observed; not confirmed yet; confirmed, not observed at present. */
export type TrackState = "tracked" | "new" | "lost";

/** One pose of a frame, with the data for the association. */
export interface Observation {
  person: Person;
  quality: number;
  histogram: Histogram;
  isBoxDetected: boolean;
}

/** Pose, box and motion are of the last reliable frame: a pose clearly worse than usual is
 * returned but does not change what is expected. */
export class Track {
  id: number | null = null;
  state: TrackState = "new";
  scores: Float32Array;
  boxScore: number;
  histogram: Histogram;
  quality: number;
  lastDetectedS: number;
  lastMatchedS: number;
  frames = 1;
  detections = 1;
  missedDetections = 0;
  /** Only a detection can end the loss, since missing detections caused it. */
  requiresDetection = false;
  private points: Float32Array;
  private box: Box;
  private readonly motion: MotionModel;
  private lastReliableS: number;

  constructor({ person, quality, histogram }: Observation, timestampS: number) {
    this.points = person.points;
    this.scores = person.scores;
    this.box = person.box;
    this.boxScore = boxScore(person);
    this.histogram = histogram;
    this.motion = new MotionModel(personSizePx(person.box));
    this.quality = quality;
    this.lastReliableS = this.lastMatchedS = this.lastDetectedS = timestampS;
  }

  expectedPoints(timestampS: number): Float32Array {
    const shift = this.motion.expectedShift(timestampS - this.lastReliableS);
    return this.points.map((value, index) => value + shift[index % 2]);
  }

  expectedBox(timestampS: number): Box {
    const shift = this.motion.expectedShift(timestampS - this.lastReliableS);
    return this.box.map((side, index) => side + shift[index % 2]) as Box;
  }

  /** Variance of the expected position along each axis, in square pixels. */
  positionVariance(timestampS: number): number {
    return this.motion.positionVariance(timestampS - this.lastReliableS);
  }

  /** Continues the track; `isDetected`: in this box or in a duplicate. */
  update(observed: Observation, timestampS: number, isDetected: boolean): void {
    const { person, quality, histogram } = observed;
    this.frames++;
    if (isDetected) {
      this.lastDetectedS = timestampS;
      this.missedDetections = 0;
      this.requiresDetection = false;
      this.detections++;
    }
    const isReliable = quality >= RELIABLE_FRACTION * this.quality;
    const share = 1 - Math.exp(-(timestampS - this.lastMatchedS) / QUALITY_TIME_S);
    this.quality += share * (quality - this.quality);
    this.lastMatchedS = timestampS;
    if (!isReliable) return;
    const elapsedS = timestampS - this.lastReliableS;
    const weights = Array.from(this.scores, (score, joint) => score * person.scores[joint]);
    const motion = fitShiftScale(this.points, person.points, weights);
    if (observed.isBoxDetected) {
      this.box = person.box;
      this.boxScore = boxScore(person);
    } else {
      this.box = fittedBox(movedBox(motion, this.box), person, elapsedS);
    }
    this.motion.update(motion, elapsedS, personSizePx(this.box));
    this.points = person.points;
    this.scores = person.scores;
    this.lastReliableS = timestampS;
    if (isKnown(histogram)) {
      const rate = isKnown(this.histogram) ? HISTOGRAM_RATE : 1;
      this.histogram = this.histogram.map((old, bin) => old + rate * (histogram[bin] - old));
    }
  }
}

/** The detector's score of the box: the person score without the factor of the joints. */
function boxScore(person: Person): number {
  const joints = personScore(person.scores, 1);
  return joints > 0 ? Math.min(1, person.score / joints) : 0;
}
