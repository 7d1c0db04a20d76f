// The times of the frames: how far apart they usually are (slimpose/tracking/frame_times.py).

import type { TrackerSettings } from "./tracks.js";

/** After a longer time without a frame, the expected positions of people are not reliable. */
export const SLOW_FRAME_S = 0.75;
/** The usual time between frames is the median of this many. */
const USUAL_INTERVALS = 5;
/** Where frames are slow, tracks are kept for this many usual intervals, up to a limit. */
const LOST_INTERVALS = 3.5;
const MAX_SLOW_BUFFER_S = 30;

export class FrameTimes {
  private nowS: number | null = null;
  private intervalsS: number[] = [];

  add(timestampS: number): void {
    if (this.nowS !== null) {
      this.intervalsS = [...this.intervalsS, timestampS - this.nowS].slice(-USUAL_INTERVALS);
    }
    this.nowS = timestampS;
  }

  /** Whether a frame to add is the first, or follows a gap. */
  isAfterGap(timestampS: number): boolean {
    return this.nowS === null || timestampS - this.nowS > SLOW_FRAME_S;
  }

  /** Whether frames are so far apart that each is processed like a single image. */
  isSlow(timestampS: number): boolean {
    return this.usualIntervalS(timestampS) > SLOW_FRAME_S;
  }

  /** How long tracks are kept without a match. */
  bufferS(timestampS: number, settings: TrackerSettings): number {
    const slowS = Math.min(LOST_INTERVALS * this.usualIntervalS(timestampS), MAX_SLOW_BUFFER_S);
    return Math.max(settings.lostTrackBufferS, slowS);
  }

  private usualIntervalS(timestampS: number): number {
    const intervals = [...this.intervalsS];
    if (this.nowS !== null && timestampS > this.nowS) intervals.push(timestampS - this.nowS);
    intervals.sort((a, b) => a - b);
    return intervals[Math.floor((intervals.length - 1) / 2)] ?? 0;
  }
}
