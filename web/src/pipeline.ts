// The pipeline: detector, then pose model, loaded from an exported folder.

import { Detector } from "./detector.js";
import { PoseEstimator } from "./estimator.js";
import { checkBox, type Box, largestPeople } from "./geometry.js";
import { Follower, type FollowerOptions } from "./follower.js";
import { downloadModel, type Manifest, readManifest } from "./models.js";
import { type ImageInput, PixelReader } from "./pixels.js";
import type { Poses, Skeleton } from "./poses.js";
import { type Backend, Runtime, type RuntimeOptions, type Session } from "./runtime.js";

export interface LoadOptions extends RuntimeOptions {
  /** Address of models.json (default: next to this module). */
  manifest?: string | URL;
  /** Name of the pose model (default: the first of models.json). */
  model?: string;
  /** Called while the models are downloaded. */
  onProgress?: (loadedBytes: number, totalBytes: number) => void;
}

export interface EstimateOptions {
  /** The people's boxes, x1, y1, x2, y2 in pixels (default: they are detected). */
  boxes?: Box[];
  /** Minimum score of a person's box (default: the detector's own). */
  scoreThreshold?: number;
  /** At most this many people, the largest (default: all). */
  maxPeople?: number;
}

export class Pipeline {
  private readonly reader = new PixelReader();
  private readonly detector: Detector;
  private readonly estimator: PoseEstimator;

  /** Made by `load()`. */
  constructor(
    readonly model: string,
    readonly skeleton: Skeleton,
    readonly backend: Backend,
    readonly threads: number,
    private readonly sessions: { detector: Session; pose: Session },
    manifest: Manifest,
  ) {
    this.detector = new Detector(sessions.detector, manifest.detector);
    this.estimator = new PoseEstimator(sessions.pose, poseModel(manifest, model));
  }

  /** The poses of the people in an image, or in the current frame of a video. */
  async estimate(input: ImageInput, options: EstimateOptions = {}): Promise<Poses> {
    const image = await this.reader.read(input);
    options.boxes?.forEach(checkBox);
    const found = options.boxes
      ? options.boxes.map((box) => ({ box, score: 1 }))
      : await this.detector.detect(image, options.scoreThreshold);
    const boxes = found.map(({ box }) => box);
    const kept = options.boxes ? boxes.map((_, row) => row) : largestPeople(boxes, options.maxPeople);
    const people = await this.estimator.estimate(image, kept.map((row) => found[row]));
    return { width: image.width, height: image.height, people };
  }

  /** A follower of the people in a video or camera; one for each. */
  follow(options: FollowerOptions = {}): Follower {
    const { detector, estimator, skeleton } = this;
    return new Follower({ detector, estimator, skeleton }, options);
  }

  /** Frees the models' memory. */
  async release(): Promise<void> {
    await this.sessions.detector.release();
    await this.sessions.pose.release();
  }
}

/** Loads a pose model and the detector of a folder that `slimpose export --web` wrote. */
export async function load(options: LoadOptions = {}): Promise<Pipeline> {
  const url = new URL(options.manifest ?? "models.json", import.meta.url);
  const manifest = await readManifest(url);
  const pose = poseModel(manifest, options.model ?? manifest.poses[0].name);
  const runtime = await Runtime.open(new URL(manifest.runtime.folder, url), options);
  const totalBytes = pose.bytes + manifest.detector.bytes;
  let loadedBytes = 0;
  const onBytes = (bytes: number): void => {
    loadedBytes += bytes;
    options.onProgress?.(loadedBytes, totalBytes);
  };
  const files = await Promise.all(
    [manifest.detector, pose].map((model) => downloadModel(model, url, onBytes)),
  );
  // One after the other: onnxruntime-web starts up with the first session.
  const detector = await runtime.session(files[0]);
  const sessions = { detector, pose: await runtime.session(files[1]) };
  const { backend, threads } = runtime;
  return new Pipeline(pose.name, pose.skeleton, backend, threads, sessions, manifest);
}

function poseModel(manifest: Manifest, name: string) {
  const found = manifest.poses.find((model) => model.name === name);
  if (found) return found;
  const names = manifest.poses.map((model) => model.name).join(", ");
  throw new RangeError(`no model is named "${name}"; expected one of ${names}`);
}
