// Color histograms of people (slimpose/tracking/appearance.py).

import type { Pixels } from "../crops.js";
import { clamp, roundHalfEven } from "../geometry.js";
import type { Person, Skeleton } from "../poses.js";

const LEVELS = 6; // per channel
const PART_BINS = LEVELS ** 3;
/** x1, y1, x2, y2 of a person's trunk and legs, as fractions of the box. */
const PARTS = [
  [0.3, 0.2, 0.7, 0.55],
  [0.3, 0.55, 0.7, 0.9],
];
const SAMPLES = 16; // per side of a part

export type Histogram = Float64Array;

/** The RGB histogram of two parts of a person, which sums to 1; parts outside the image are 0. */
export function colorHistogram(image: Pixels, person: Person, skeleton: Skeleton): Histogram {
  const histogram = new Float64Array(2 * PART_BINS);
  const parts = skeleton.color_samples
    ? skeleton.color_samples.map((weights) => alongLimbs(person.points, weights))
    : PARTS.map((part) => grid(person, part));
  parts.forEach((points, part) => {
    addSoftHistogram(image, points, histogram.subarray(part * PART_BINS, (part + 1) * PART_BINS));
  });
  return histogram;
}

type Point = [x: number, y: number];

function grid({ box }: Person, [x1, y1, x2, y2]: number[]): Point[] {
  const at = (start: number, low: number, high: number, side: number, step: number) =>
    start + low * side + (step / (SAMPLES - 1)) * (high - low) * side;
  const points: Point[] = [];
  for (let row = 0; row < SAMPLES; row++) {
    const y = at(box[1], y1, y2, box[3] - box[1], row);
    for (let column = 0; column < SAMPLES; column++) {
      points.push([at(box[0], x1, x2, box[2] - box[0], column), y]);
    }
  }
  return points;
}

/** Weighted means of the keypoints. */
function alongLimbs(points: Float32Array, weights: number[][]): Point[] {
  const mean = (row: number[], axis: number) =>
    row.reduce((sum, weight, joint) => {
      const value = points[2 * joint + axis];
      return sum + weight * (Number.isNaN(value) ? -1 : value);
    }, 0);
  return weights.map((row) => [mean(row, 0), mean(row, 1)]);
}

/** Each pixel counts in the two nearest bins of every channel, so light changes little. */
function addSoftHistogram(image: Pixels, points: Point[], bins: Float64Array): void {
  let inside = 0;
  for (const [x, y] of points) {
    const column = roundHalfEven(x);
    const row = roundHalfEven(y);
    if (!(column >= 0 && column < image.width && row >= 0 && row < image.height)) continue;
    inside++;
    const at = 4 * (row * image.width + column);
    const low = [0, 0, 0];
    const fraction = [0, 0, 0];
    for (let channel = 0; channel < 3; channel++) {
      const level = clamp(image.data[at + channel] * (LEVELS / 256) - 0.5, 0, LEVELS - 1);
      low[channel] = Math.min(Math.floor(level), LEVELS - 2);
      fraction[channel] = level - low[channel];
    }
    for (let corner = 0; corner < 8; corner++) {
      let weight = 1;
      let bin = 0;
      for (let channel = 0; channel < 3; channel++) {
        const isUpper = (corner >> channel) & 1;
        weight *= isUpper ? fraction[channel] : 1 - fraction[channel];
        bin = bin * LEVELS + low[channel] + isUpper;
      }
      bins[bin] += weight;
    }
  }
  for (let bin = 0; bin < bins.length; bin++) bins[bin] /= 2 * Math.max(inside, 1e-9);
}

export const isKnown = (histogram: Histogram): boolean => histogram.some((share) => share > 0);

/** The Bhattacharyya coefficient 0..1; 1 if either is unknown. */
export function histogramSimilarity(a: Histogram, b: Histogram): number {
  if (!isKnown(a) || !isKnown(b)) return 1;
  let sum = 0;
  for (let bin = 0; bin < a.length; bin++) sum += Math.sqrt(a[bin] * b[bin]);
  return clamp(sum, 0, 1);
}
