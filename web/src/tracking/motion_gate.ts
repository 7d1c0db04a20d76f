// Motion detection outside the boxes of known people (slimpose/tracking/motion_gate.py).

import { type Pixels, resizeArea } from "../crops.js";
import { type Box, clamp, type Size } from "../geometry.js";

const HEIGHT = 45;
const WIDTH = 80;
const CELLS = HEIGHT * WIDTH;
/** Least change of a cell, in gray levels of 255. */
const THRESHOLD = 14;
/** Least number of connected changed cells. */
const MIN_CELLS = 4;
/** Half-life of the raised thresholds. */
const HALF_LIFE_S = 10;
/** A cell that changed without a person must change this much more to count again. */
const TOLERANCE_FACTOR = 1.3;

/**
 * Detects changes since the last detector run, outside the boxes of known people. Where the
 * detector ran on a change and found no person, the threshold is raised for a while.
 */
export class MotionGate {
  private current: Float32Array | null = null;
  private reference: Float32Array | null = null;
  private tolerance = new Float32Array(CELLS);
  private explained = new Uint8Array(CELLS);
  private detectedS = 0;

  /** Whether the image changed where no person was. Call it once per frame. */
  hasUnexplainedMotion(image: Pixels, boxes: Box[]): boolean {
    this.current = thumbnail(image);
    if (!this.reference) return false;
    coverCells(this.explained, boxes, image);
    const change = changeOf(this.current, this.reference);
    const moving = change.map((value, cell) =>
      value > THRESHOLD + this.tolerance[cell] && !this.explained[cell] ? 1 : 0,
    );
    return largestComponent(moving) >= MIN_CELLS;
  }

  /** Makes the image the new reference; `boxes` are of all people known after it. */
  detectorRan(image: Pixels, boxes: Box[], timestampS: number): void {
    const current = this.current ?? thumbnail(image);
    const covered = new Uint8Array(CELLS);
    coverCells(covered, boxes, image);
    if (this.reference) {
      const change = changeOf(current, this.reference);
      const decay = 0.5 ** ((timestampS - this.detectedS) / HALF_LIFE_S);
      this.tolerance = this.tolerance.map((tolerance, cell) => {
        const isPerson = this.explained[cell] || covered[cell];
        const noPerson = isPerson ? 0 : change[cell] * TOLERANCE_FACTOR;
        return Math.max(tolerance * decay, noPerson > THRESHOLD ? noPerson : 0);
      });
    }
    this.reference = current;
    this.explained = covered;
    this.detectedS = timestampS;
    this.current = null;
  }
}

/** The absolute change of each cell, without the change of the whole image. */
function changeOf(current: Float32Array, reference: Float32Array): Float32Array {
  const difference = current.map((value, cell) => value - reference[cell]);
  const sorted = difference.slice().sort();
  const median = (sorted[CELLS / 2 - 1] + sorted[CELLS / 2]) / 2;
  return difference.map((value) => Math.abs(value - median));
}

/** A small gray copy; in large images only some rows and columns are read. */
function thumbnail(image: Pixels): Float32Array {
  const step = Math.max(
    1,
    Math.min(Math.floor(image.height / (4 * HEIGHT)), Math.floor(image.width / (4 * WIDTH))),
  );
  const part = step === 1 ? image : everyNth(image, step);
  const small = resizeArea(part, { x: 0, y: 0, width: part.width, height: part.height }, { height: HEIGHT, width: WIDTH });
  return Float32Array.from({ length: CELLS }, (_, cell) => {
    const [red, green, blue] = small.data.subarray(4 * cell, 4 * cell + 3);
    return (9798 * red + 19235 * green + 3735 * blue + 16384) >> 15; // OpenCV's gray
  });
}

function everyNth(image: Pixels, step: number): Pixels {
  const width = Math.ceil(image.width / step);
  const height = Math.ceil(image.height / step);
  const data = new Uint8ClampedArray(4 * width * height);
  for (let row = 0, to = 0; row < height; row++) {
    let from = 4 * row * step * image.width;
    for (let column = 0; column < width; column++, to += 4, from += 4 * step) {
      data[to] = image.data[from];
      data[to + 1] = image.data[from + 1];
      data[to + 2] = image.data[from + 2];
    }
  }
  return { width, height, data };
}

/** Marks the cells inside the boxes, which are enlarged by a sixth of their size and one cell. */
function coverCells(covered: Uint8Array, boxes: Box[], size: Size): void {
  for (const [x1, y1, x2, y2] of boxes) {
    const cells = (low: number, high: number, scale: number, count: number): [number, number] => {
      const margin = (high - low) / 6;
      const start = Math.floor((low - margin) * scale) - 1;
      const end = Math.ceil((high + margin) * scale) + 1;
      return [clamp(start, 0, count), clamp(end, 0, count)];
    };
    const [left, right] = cells(x1, x2, WIDTH / size.width, WIDTH);
    const [top, bottom] = cells(y1, y2, HEIGHT / size.height, HEIGHT);
    for (let row = top; row < bottom; row++) {
      if (right > left) covered.fill(1, row * WIDTH + left, row * WIDTH + right);
    }
  }
}

/** Number of cells of the largest group of neighbors that are not 0, diagonals included. */
function largestComponent(moving: Float32Array): number {
  const left = Uint8Array.from(moving);
  let largest = 0;
  for (let start = 0; start < CELLS; start++) {
    if (!left[start]) continue;
    left[start] = 0;
    const queue = [start];
    let count = 0;
    for (let cell = queue.pop(); cell !== undefined; cell = queue.pop()) {
      count++;
      const [row, column] = [Math.floor(cell / WIDTH), cell % WIDTH];
      for (let y = Math.max(0, row - 1); y <= Math.min(HEIGHT - 1, row + 1); y++) {
        for (let x = Math.max(0, column - 1); x <= Math.min(WIDTH - 1, column + 1); x++) {
          const neighbor = y * WIDTH + x;
          if (!left[neighbor]) continue;
          left[neighbor] = 0;
          queue.push(neighbor);
        }
      }
    }
    largest = Math.max(largest, count);
  }
  return largest;
}
