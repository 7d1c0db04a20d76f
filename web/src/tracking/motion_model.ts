// Motion of a person (slimpose/tracking/motion_model.py): shift and scale between two poses, and a
// Kalman filter of the velocity.

import { type Box, clamp } from "../geometry.js";

// Sizes below are fractions of the person's size, the square root of the box area.
/** Standard deviation of a pose's position from frame to frame, in sizes. */
const MEASUREMENT_NOISE = 0.02;
/** Standard deviation of the change of velocity within a second, in sizes per second. */
const PROCESS_NOISE = 1;
/** Standard deviation of the velocity of a new person, in sizes per second. */
const INITIAL_VELOCITY_NOISE = 1.5;
/** Time constant with which the expected velocity of an unobserved person falls. */
const COAST_TIME_S = 2;
/** Limits of the standard deviation of an expected position, in sizes. */
const MIN_DEVIATION = 0.05;
const MAX_DEVIATION = 1;

type Vector = [x: number, y: number];

/** x -> to + scale * (x - from). */
export interface ShiftScale {
  from: Vector;
  to: Vector;
  scale: number;
}

export const movedBox = ({ from, to, scale }: ShiftScale, box: Box): Box =>
  box.map((side, index) => to[index % 2] + scale * (side - from[index % 2])) as Box;

/** The shift and scale that best map one pose to the other (weighted least squares). */
export function fitShiftScale(
  pointsFrom: Float32Array,
  pointsTo: Float32Array,
  weights: number[],
): ShiftScale {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const mean = (points: Float32Array, shares: number[]): Vector => {
    const center: Vector = [0, 0];
    shares.forEach((share, joint) => {
      center[0] += share * points[2 * joint];
      center[1] += share * points[2 * joint + 1];
    });
    return center;
  };
  if (total <= 1e-6) {
    const center = mean(pointsFrom, weights.map(() => 1 / weights.length));
    return { from: center, to: center, scale: 1 };
  }
  const shares = weights.map((weight) => weight / total);
  const from = mean(pointsFrom, shares);
  const to = mean(pointsTo, shares);
  let variance = 0;
  let covariance = 0;
  shares.forEach((share, joint) => {
    for (const axis of [0, 1]) {
      const offset = pointsFrom[2 * joint + axis] - from[axis];
      variance += share * offset * offset;
      covariance += share * offset * (pointsTo[2 * joint + axis] - to[axis]);
    }
  });
  return { from, to, scale: clamp(variance > 1e-6 ? covariance / variance : 1, 0.8, 1.25) };
}

/** Kalman filter of a person's velocity (random walk), which extrapolates the position. */
export class MotionModel {
  private velocity: Vector = [0, 0]; // pixels per second
  private variance = INITIAL_VELOCITY_NOISE ** 2; // of the velocity, in square sizes

  /** `sizePx` is the square root of the person's box area, the unit of all noise. */
  constructor(private sizePx: number) {}

  update({ from, to }: ShiftScale, elapsedS: number, sizePx: number): void {
    this.sizePx = sizePx;
    this.variance += PROCESS_NOISE ** 2 * elapsedS;
    const gain = this.variance / (this.variance + 2 * (MEASUREMENT_NOISE / elapsedS) ** 2);
    const step = (axis: 0 | 1): number =>
      this.velocity[axis] + gain * ((to[axis] - from[axis]) / elapsedS - this.velocity[axis]);
    this.velocity = [step(0), step(1)];
    this.variance *= 1 - gain;
  }

  expectedShift(elapsedS: number): Vector {
    const effectiveS = COAST_TIME_S * (1 - Math.exp(-elapsedS / COAST_TIME_S));
    return [this.velocity[0] * effectiveS, this.velocity[1] * effectiveS];
  }

  /** Variance of the expected position along each axis, in square pixels. */
  positionVariance(elapsedS: number): number {
    const drift = this.variance * elapsedS ** 2 + (PROCESS_NOISE ** 2 * elapsedS ** 3) / 3;
    return Math.min(MAX_DEVIATION ** 2, MIN_DEVIATION ** 2 + drift) * this.sizePx ** 2;
  }
}
