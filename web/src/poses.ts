// The result for one image (slimpose/poses.py).

import type { Box } from "./geometry.js";

/** The keypoints of a person in a fixed order, and what follows from their names. */
export interface Skeleton {
  name: string;
  joints: string[];
  limbs: [number, number][];
  /** The precision of each keypoint, for OKS. */
  sigmas: number[];
  /** The mirror partner of each keypoint. */
  flip: number[];
  /** "left", "right" or "" for each keypoint. */
  sides: string[];
  /**
   * For skeletons that are not a person's: where colors are sampled, two lists of samples with the
   * weights of all keypoints each. A person's colors are those of trunk and legs in the box.
   */
  color_samples: [number[][], number[][]] | null;
}

/** One person, in image pixels. */
export interface Person {
  /** 1, 2, 3, ...; null where people are not followed. */
  id: number | null;
  /** Box score times the mean keypoint score, 0..1. */
  score: number;
  /** The box the pose was estimated in. */
  box: Box;
  /** x and y of each keypoint, one after another. */
  points: Float32Array;
  /** 0..1 of each keypoint. */
  scores: Float32Array;
  /** xx, xy, yx, yy of each keypoint in square pixels: width and direction of its heatmap's peak. */
  covariances: Float32Array;
}

/** The people found in one image. */
export interface Poses {
  width: number;
  height: number;
  people: Person[];
}

/** Keypoints that score less do not count in the person's score. */
const MIN_JOINT_SCORE = 0.2;

/** The person's score: box score times the mean of keypoint scores over MIN_JOINT_SCORE. */
export function personScore(scores: Float32Array, boxScore: number): number {
  const counted = scores.filter((score) => score > MIN_JOINT_SCORE);
  return (boxScore * counted.reduce((sum, score) => sum + score, 0)) / Math.max(counted.length, 1);
}

/** The people as plain objects, in the format of `Poses.to_dict()` in Python, for JSON. */
export function toJson(people: Person[], skeleton: Skeleton): object[] {
  return people.map((person) => ({
    track_id: person.id,
    score: person.score,
    box: person.box,
    keypoints: Object.fromEntries(
      skeleton.joints.map((joint, index) => {
        const [xx, xy, yx, yy] = person.covariances.subarray(4 * index, 4 * index + 4);
        return [
          joint,
          {
            x: person.points[2 * index],
            y: person.points[2 * index + 1],
            score: person.scores[index],
            covariance: [[xx, xy], [yx, yy]],
          },
        ];
      }),
    ),
  }));
}
