// People in the frames of one camera or video: detector, poses, ids and smoothing, with the rules
// of slimpose/runtime/follower.py.

import type { Pixels } from "./crops.js";
import type { Detector, ScoredBox } from "./detector.js";
import type { PoseEstimator } from "./estimator.js";
import { type Box, iou, largestPeople } from "./geometry.js";
import { type ImageInput, PixelReader } from "./pixels.js";
import type { Person, Poses, Skeleton } from "./poses.js";
import { assign } from "./tracking/assignment.js";
import { SLOW_FRAME_S } from "./tracking/frame_times.js";
import { MotionGate } from "./tracking/motion_gate.js";
import { DEFAULT_ONE_EURO, type OneEuroSettings, PoseSmoother } from "./tracking/smoothing.js";
import { type ExpectedBox, type Origin, Tracker } from "./tracking/tracker.js";
import { DEFAULT_TRACKER, type TrackerSettings } from "./tracking/tracks.js";

/** A detected and an expected box with this overlap become one box, midway between them. */
const SAME_BOX_IOU = 0.5;
/** On request the detector runs at most this many times as often as it does anyway. */
const MAX_EXTRA_DETECTIONS = 4;
/** Times `maxPeople` that people are followed: they keep their ids where their order changes. */
const FOLLOWED_PER_SHOWN = 2;

export interface FollowerOptions {
  /** Run the detector at least on every N-th frame (default 8). */
  detectEvery?: number;
  /** Whether keypoints are smoothed over time (default). */
  smooth?: boolean;
  /** Minimum score of a person's box (default: the detector's own). */
  scoreThreshold?: number;
  /** At most this many people, the largest (default: all). */
  maxPeople?: number;
  tracking?: Partial<TrackerSettings>;
  smoothing?: Partial<OneEuroSettings>;
}

/** The models that a follower runs. */
export interface FollowerModels {
  detector: Pick<Detector, "detect">;
  estimator: Pick<PoseEstimator, "estimate">;
  skeleton: Skeleton;
}

interface SourcedBox extends ScoredBox {
  origin: Origin;
}

/** The state of a camera between frames. */
class Camera {
  readonly gate = new MotionGate();
  readonly tracker: Tracker;
  readonly smoother: PoseSmoother;
  width = 0;
  height = 0;
  timestampS = -Infinity;
  framesSince = 0; // the last detection
  framesLeft = 0; // until the next regular one
  needsDetection = false; // before that
  shown = new Set<number | null>(); // ids of the people that were returned last

  constructor(skeleton: Skeleton, options: FollowerOptions, newId: () => number) {
    this.tracker = new Tracker(skeleton, { ...DEFAULT_TRACKER, ...options.tracking }, newId);
    this.smoother = new PoseSmoother({ ...DEFAULT_ONE_EURO, ...options.smoothing });
  }
}

/** Follows people through the frames of a camera or video; made by `Pipeline.follow()`. */
export class Follower {
  /** Number of frames that the detector has processed. */
  detections = 0;
  /** Whether keypoints are smoothed; may be changed between frames. */
  smooth: boolean;
  private readonly detectEvery: number;
  private readonly reader = new PixelReader();
  private camera: Camera;
  private newestId = 0;
  private isBusy = false;

  constructor(
    private readonly models: FollowerModels,
    private readonly options: FollowerOptions = {},
  ) {
    this.detectEvery = options.detectEvery ?? 8;
    this.smooth = options.smooth ?? true;
    for (const [name, value] of Object.entries({ detectEvery: this.detectEvery, maxPeople: options.maxPeople ?? 1 })) {
      if (!(Number.isInteger(value) && value >= 1)) {
        throw new RangeError(`${name} is ${value}; expected a whole number, 1 or more`);
      }
    }
    this.camera = this.newCamera();
  }

  /**
   * The people of the next frame, with ids, sorted by id. A new person is returned two frames
   * later, when it is confirmed; at once where frames are about a second apart.
   *
   * Fails if the time does not increase, or the last frame is not done yet.
   */
  async step(frame: ImageInput, timestampS: number): Promise<Poses> {
    if (this.isBusy) {
      throw new Error("the last frame is not done yet; expected await follower.step(...)");
    }
    if (!(Number.isFinite(timestampS) && timestampS > this.camera.timestampS)) {
      throw new RangeError(
        `the time went from ${this.camera.timestampS} s to ${timestampS} s; expected it to ` +
          "increase (forget() resets the follower)",
      );
    }
    this.isBusy = true;
    try {
      const image = await this.reader.read(frame);
      const people = await this.follow(image, timestampS);
      return { width: image.width, height: image.height, people };
    } finally {
      this.isBusy = false;
    }
  }

  /** Resets the follower after a gap or a cut; people get new ids. */
  forget(): void {
    this.camera = this.newCamera();
  }

  private newCamera(): Camera {
    return new Camera(this.models.skeleton, this.options, () => ++this.newestId);
  }

  private async follow(image: Pixels, timestampS: number): Promise<Person[]> {
    const { width, height } = image;
    const isOtherSize = this.camera.width !== width || this.camera.height !== height;
    if (this.camera.width > 0 && isOtherSize) this.forget();
    const { camera } = this;
    const isAfterGap = timestampS - camera.timestampS > SLOW_FRAME_S;
    Object.assign(camera, { width, height, timestampS });
    const expected = camera.tracker.expected(timestampS, image);
    const boxes = expected.map(({ box }) => box);
    // Where as many people are known as are kept, the regular detections find others.
    const isFull = camera.shown.size >= (this.options.maxPeople ?? Infinity);
    const hasMotion = !isFull && camera.gate.hasUnexplainedMotion(image, boxes);
    camera.needsDetection ||= camera.tracker.needsDetection || hasMotion;
    const detectorRuns = this.needsDetector(isAfterGap);
    const sourced = detectorRuns ? await this.detect(image, expected) : expected;
    const found = await this.models.estimator.estimate(image, sourced);
    const origins = sourced.map(({ origin }) => origin);
    const tracked = camera.tracker.update(found, origins, image, timestampS, detectorRuns);
    if (detectorRuns) {
      const known = camera.tracker.expected(timestampS, image).map(({ box }) => box);
      camera.gate.detectorRan(image, known, timestampS);
    }
    return this.largest(this.smooth ? camera.smoother.smooth(tracked, timestampS) : tracked);
  }

  private needsDetector(isAfterGap: boolean): boolean {
    const { camera } = this;
    camera.framesSince++;
    camera.framesLeft--;
    const mayRequest = camera.framesSince * MAX_EXTRA_DETECTIONS >= this.detectEvery;
    return isAfterGap || camera.framesLeft <= 0 || (camera.needsDetection && mayRequest);
  }

  /** Detected and expected boxes; where both agree, one box in between. */
  private async detect(image: Pixels, expected: ExpectedBox[]): Promise<SourcedBox[]> {
    const { camera } = this;
    this.detections++;
    const detected = await this.models.detector.detect(image, this.options.scoreThreshold);
    camera.framesLeft = this.detectEvery;
    camera.framesSince = 0;
    camera.needsDetection = false;
    const overlaps = detected.map(({ box }) => expected.map((known) => iou(box, known.box)));
    const partner = new Map(assign(overlaps, SAME_BOX_IOU));
    const boxes: SourcedBox[] = detected.map(({ box, score }, row) => {
      const known = expected[partner.get(row) ?? -1];
      const isTracked = known?.origin === "tracked";
      const merged = isTracked ? (box.map((side, index) => (side + known.box[index]) / 2) as Box) : box;
      return { box: merged, score, origin: "detected" };
    });
    const matched = new Set(partner.values());
    boxes.push(...expected.filter((_, row) => !matched.has(row)));
    const { maxPeople } = this.options;
    const kept = largestPeople(
      boxes.map(({ box }) => box),
      maxPeople && maxPeople * FOLLOWED_PER_SHOWN,
      (row) => row >= detected.length || partner.has(row),
    );
    return kept.map((row) => boxes[row]);
  }

  /** The largest people; those of the last frame are preferred. */
  private largest(people: Person[]): Person[] {
    const { camera } = this;
    const kept = largestPeople(
      people.map(({ box }) => box),
      this.options.maxPeople,
      (row) => camera.shown.has(people[row].id),
    ).map((row) => people[row]);
    camera.shown = new Set(kept.map(({ id }) => id));
    return kept;
  }
}
