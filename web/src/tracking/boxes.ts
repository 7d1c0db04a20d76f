// Boxes fitted to poses, and OKS between poses of one frame (slimpose/tracking/boxes.py).

import { area, type Box } from "../geometry.js";
import type { Person, Skeleton } from "../poses.js";

/** Joints with lower scores do not count for the extent of a person. */
const VISIBLE_SCORE = 0.3;
/** Margin on every side as a fraction of the joints' extent. */
const EXTENT_MARGIN = 0.12;
/** A person's area, as OKS uses it, over the area of the box: the mean of COCO's people. */
export const AREA_PER_BOX_AREA = 0.51;
/** Time constant with which a box that is too large shrinks. */
const SHRINK_TIME_S = 1;

export type Pose = Pick<Person, "points" | "scores">;

const countVisible = (scores: Float32Array): number =>
  scores.reduce((count, score) => count + (score >= VISIBLE_SCORE ? 1 : 0), 0);

/** A box around the visible joints, with a margin; with fewer than three, around all. */
export function jointExtent({ points, scores }: Pose): Box {
  const countsAll = countVisible(scores) < 3;
  const low = [Infinity, Infinity];
  const high = [-Infinity, -Infinity];
  for (let joint = 0; joint < scores.length; joint++) {
    if (!countsAll && scores[joint] < VISIBLE_SCORE) continue;
    for (const axis of [0, 1]) {
      low[axis] = Math.min(low[axis], points[2 * joint + axis]);
      high[axis] = Math.max(high[axis], points[2 * joint + axis]);
    }
  }
  const extent = [high[0] - low[0], high[1] - low[1]];
  const margin = extent.map((side) => EXTENT_MARGIN * Math.max(side, 0.2 * Math.max(...extent)));
  return [low[0] - margin[0], low[1] - margin[1], high[0] + margin[0], high[1] + margin[1]];
}

/** A box updated to a pose: it grows at once and shrinks slowly. */
export function fittedBox(box: Box, pose: Pose, elapsedS: number): Box {
  if (countVisible(pose.scores) < 3) return box;
  const goal = jointExtent(pose);
  const share = 1 - Math.exp(-elapsedS / SHRINK_TIME_S);
  return box.map((side, index) => {
    const moved = side + share * (goal[index] - side);
    return index < 2 ? Math.min(goal[index], moved) : Math.max(goal[index], moved);
  }) as Box;
}

/** The size of the person in the box: the square root of the box area, at least 1. */
export const personSizePx = (box: Box): number => Math.sqrt(Math.max(1, area(box)));

/** The mean joint score, weighted by the scores: hidden joints hardly count. */
export function poseQuality(scores: Float32Array): number {
  let sum = 0;
  let squares = 0;
  for (const score of scores) {
    sum += score;
    squares += score * score;
  }
  return Math.fround(squares / Math.max(sum, 1e-6));
}

/**
 * The OKS of two poses of a frame over the best half of their joints; a high value means that both
 * are of one person. Left and right may be swapped; the scale is the area of the smaller pose.
 */
export function pairOks(a: Pose, b: Pose, skeleton: Skeleton): number {
  const joints = a.scores.length;
  const areaPx = (pose: Pose) => AREA_PER_BOX_AREA * Math.max(area(jointExtent(pose)), 1);
  const smaller = Math.min(areaPx(a), areaPx(b));
  const fewest = Math.min(countVisible(a.scores), countVisible(b.scores));
  const half = Math.max(Math.min(3, joints), Math.floor((fewest + 1) / 2));
  const bestHalf = (partner: (joint: number) => number): number => {
    const similarities = skeleton.sigmas.map((sigma, joint) => {
      const other = partner(joint);
      if (a.scores[joint] < VISIBLE_SCORE || b.scores[other] < VISIBLE_SCORE) return 0;
      const x = a.points[2 * joint] - b.points[2 * other];
      const y = a.points[2 * joint + 1] - b.points[2 * other + 1];
      return Math.exp(-(x * x + y * y) / (2 * smaller * (2 * sigma) ** 2));
    });
    similarities.sort((one, other) => other - one);
    return similarities.slice(0, half).reduce((sum, one) => sum + one, 0) / half;
  };
  return Math.max(bestHalf((joint) => joint), bestHalf((joint) => skeleton.flip[joint]));
}
