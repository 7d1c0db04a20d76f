// One-Euro filter of keypoints (slimpose/tracking/smoothing.py): strong smoothing at rest, little
// delay in motion.
//
// Source: Casiez et al., "1 Euro Filter", CHI 2012; the uncertainty is an addition of slimpose.

import { clamp } from "../geometry.js";
import type { Person } from "../poses.js";
import { personSizePx } from "./boxes.js";

/** As `OneEuroSettings` in Python. */
export interface OneEuroSettings {
  /** Cutoff frequency of a confident keypoint at rest. Lower values remove more jitter. */
  minCutoffHz: number;
  /** Increase of the cutoff frequency with the speed, in Hz per size per second. */
  beta: number;
  /** Cutoff frequency of the filter of the speed. */
  derivativeCutoffHz: number;
  /** A person who was not observed for longer starts unsmoothed again. */
  maxGapS: number;
  /** Standard deviation of a confident keypoint's heatmap peak, in sizes. */
  typicalSpread: number;
  /** Keypoints with lower scores are smoothed more, in proportion. */
  confidentScore: number;
}

export const DEFAULT_ONE_EURO: OneEuroSettings = {
  minCutoffHz: 1,
  beta: 20,
  derivativeCutoffHz: 1,
  maxGapS: 0.5,
  typicalSpread: 0.07,
  confidentScore: 0.5,
};

interface FilterState {
  timestampS: number;
  points: Float64Array;
  velocity: Float64Array; // pixels per second
}

export class PoseSmoother {
  private states = new Map<number, FilterState>();

  constructor(private readonly settings: OneEuroSettings = DEFAULT_ONE_EURO) {}

  /** The people with smoothed points; those without an id stay as they are. */
  smooth(people: Person[], timestampS: number): Person[] {
    for (const [id, state] of this.states) {
      const elapsedS = timestampS - state.timestampS;
      if (!(elapsedS > 0 && elapsedS <= this.settings.maxGapS)) this.states.delete(id);
    }
    return people.map((person) => {
      if (person.id === null) return person;
      const state = this.states.get(person.id);
      const points = Float64Array.from(person.points);
      const velocity = new Float64Array(points.length);
      if (state) this.filter(person, state, timestampS, points, velocity);
      this.states.set(person.id, { timestampS, points, velocity });
      return { ...person, points: Float32Array.from(points) };
    });
  }

  private filter(
    person: Person,
    last: FilterState,
    timestampS: number,
    points: Float64Array,
    velocity: Float64Array,
  ): void {
    const { settings } = this;
    const elapsedS = timestampS - last.timestampS;
    const sizePx = personSizePx(person.box);
    const share = alpha(settings.derivativeCutoffHz, elapsedS);
    const typicalVariance = (settings.typicalSpread * sizePx) ** 2;
    person.scores.forEach((score, joint) => {
      const [x, y] = [2 * joint, 2 * joint + 1];
      const step = [person.points[x] - last.points[x], person.points[y] - last.points[y]];
      velocity[x] = last.velocity[x] + share * (step[0] / elapsedS - last.velocity[x]);
      velocity[y] = last.velocity[y] + share * (step[1] / elapsedS - last.velocity[y]);
      const speed = Math.hypot(velocity[x], velocity[y]) / sizePx; // sizes per second
      const confidence = clamp(score / settings.confidentScore, 1e-3, 1);
      const covariance = person.covariances.subarray(4 * joint, 4 * joint + 4);
      points[x] = last.points[x];
      points[y] = last.points[y];
      for (const { variance, axis } of principalAxes(covariance)) {
        const uncertainty = Math.max(variance, 0) / typicalVariance / confidence;
        const cutoffHz = (settings.minCutoffHz + settings.beta * speed) / clamp(uncertainty, 0.25, 16);
        const along = alpha(cutoffHz, elapsedS) * (axis[0] * step[0] + axis[1] * step[1]);
        points[x] += axis[0] * along;
        points[y] += axis[1] * along;
      }
    });
  }
}

/** The variances of a covariance xx, xy, yx, yy along its two axes, which are unit vectors. */
function principalAxes(covariance: Float32Array): { variance: number; axis: [number, number] }[] {
  const [xx, , yx, yy] = covariance; // NumPy's eigh reads the lower triangle too
  const angle = Math.atan2(2 * yx, xx - yy) / 2;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const middle = (xx + yy) / 2;
  const half = Math.hypot((xx - yy) / 2, yx);
  return [
    { variance: middle + half, axis: [cos, sin] },
    { variance: middle - half, axis: [-sin, cos] },
  ];
}

/** The smoothing factor of the paper: the share of a step that the filter follows. */
function alpha(cutoffHz: number, elapsedS: number): number {
  const angle = 2 * Math.PI * cutoffHz * elapsedS;
  return angle / (angle + 1);
}
