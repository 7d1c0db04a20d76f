// What was found, for the download.

import { type Poses, type Skeleton, toJson } from "../src/index.js";

/** Ten minutes at 30 frames a second; older frames are dropped. */
const MAX_FRAMES = 18_000;

interface Recorded {
  source: string;
  timeS: number | null;
  poses: Poses;
}

export class Recording {
  private frames: Recorded[] = [];
  private dropped = 0;
  private model = "";
  private skeleton: Skeleton | null = null;

  add(source: string, timeS: number | null, poses: Poses): void {
    this.frames.push({ source, timeS, poses });
    if (this.frames.length > 1.1 * MAX_FRAMES) {
      this.dropped += this.frames.length - MAX_FRAMES;
      this.frames = this.frames.slice(-MAX_FRAMES);
    }
  }

  /** Begins again; all frames until the next start are of this model. */
  start(model: string, skeleton: Skeleton): void {
    this.model = model;
    this.skeleton = skeleton;
    this.frames = [];
    this.dropped = 0;
  }

  get length(): number {
    return this.frames.length;
  }

  toBlob(): Blob {
    const { model, skeleton } = this;
    if (!skeleton) throw new Error("nothing was recorded");
    const document = {
      model,
      skeleton: skeleton.name,
      dropped_frames: this.dropped,
      frames: this.frames.map(({ source, timeS, poses }) => ({
        source,
        time_s: timeS,
        width: poses.width,
        height: poses.height,
        people: toJson(poses.people, skeleton),
      })),
    };
    return new Blob([JSON.stringify(document)], { type: "application/json" });
  }
}
