// Similarity of an expected and an observed pose (slimpose/tracking/association.py).

import { area, type Box, iou } from "../geometry.js";
import type { Skeleton } from "../poses.js";
import { AREA_PER_BOX_AREA, type Pose } from "./boxes.js";

/** Factor on the similarity of a pose that matches only with left and right swapped. */
const MIRRORED_FACTOR = 0.9;
/** Box IoU counts as much as one joint of score 1. */
const IOU_WEIGHT = 1;

export type BoxedPose = Pose & { box: Box };

/**
 * The similarity 0..1 of an expected pose a and an observed pose b. Only the half of the joints
 * that agrees best counts: hands and feet move on their own, head and trunk identify the person.
 * `positionVariance`, of the expected position, is added to the variance of every joint.
 */
export function poseSimilarity(
  a: BoxedPose,
  b: BoxedPose,
  skeleton: Skeleton,
  positionVariance: number,
): number {
  const areaPx = Math.max(AREA_PER_BOX_AREA * area(a.box), 1);
  const overlap = iou(a.box, b.box);
  const bestHalf = (partner: (joint: number) => number): number => {
    const joints = skeleton.sigmas.map((sigma, joint) => {
      const other = partner(joint);
      const x = a.points[2 * joint] - b.points[2 * other];
      const y = a.points[2 * joint + 1] - b.points[2 * other + 1];
      const variance = (2 * sigma) ** 2 * areaPx + positionVariance;
      return {
        similarity: Math.exp(-(x * x + y * y) / (2 * variance)),
        weight: a.scores[joint] * b.scores[other],
      };
    });
    joints.sort((one, other) => other.similarity - one.similarity);
    let left = joints.reduce((sum, joint) => sum + joint.weight, 0) / 2;
    let counted = 0;
    let total = 0;
    for (const { similarity, weight } of joints) {
      const share = Math.min(weight, Math.max(left, 0)); // up to half of the weight
      left -= weight;
      counted += share;
      total += share * similarity;
    }
    return (total + IOU_WEIGHT * overlap) / (counted + IOU_WEIGHT);
  };
  const mirrored = MIRRORED_FACTOR * bestHalf((joint) => skeleton.flip[joint]);
  return Math.fround(Math.max(bestHalf((joint) => joint), mirrored));
}
