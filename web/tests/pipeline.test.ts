import assert from "node:assert/strict";
import { test } from "node:test";
import { Detector } from "../src/detector.js";
import { PoseEstimator } from "../src/estimator.js";
import type { DetectorInfo, PoseModelInfo } from "../src/models.js";
import { toJson } from "../src/poses.js";
import { assign } from "../src/tracking/assignment.js";
import { pixels } from "./fixtures.js";

const image = pixels(new Uint8Array(3 * 100 * 80).fill(50), 100, 80);
const file = { name: "", file: "", bytes: 0, integrity: "" };

test("boxes are mapped to the image, clipped, filtered and without overlaps", async () => {
  const info: DetectorInfo = {
    ...file, height: 40, width: 50, fit: "stretch", score_threshold: 0.3, nms_iou_threshold: 0.6,
  };
  const boxes = [
    [5, 5, 15, 30], // kept
    [5, 5, 15, 29], // overlaps the first, with a lower score
    [30, 5, 60, 30], // reaches over the border
    [20, 5, 25, 30], // scores too little
    [20, 5, 20.5, 30], // too narrow
  ];
  const session = {
    run: async () => [Float32Array.from(boxes.flat()), Float32Array.of(0.9, 0.8, 0.7, 0.2, 0.9)],
  };
  const found = await new Detector(session, info).detect(image);
  assert.deepEqual(found.map(({ box }) => box), [[10.5, 10.5, 30.5, 60.5], [60.5, 10.5, 99.5, 60.5]]);
  assert.equal((await new Detector(session, info).detect(image, 0.75)).length, 1);
});

test("more people than a batch are split, and their points are in the image", async () => {
  const info = {
    ...file, height: 64, width: 48, skeleton: { joints: ["nose"] },
  } as unknown as PoseModelInfo;
  const counts: number[] = [];
  const session = {
    run: async (_: Uint8Array, count: number) => {
      counts.push(count);
      const points = new Float32Array(2 * count).map((__, index) => (index % 2 ? 31.5 : 23.5));
      return [points, new Float32Array(count).fill(0.8), new Float32Array(4 * count).fill(1)];
    },
  };
  const boxes = Array.from({ length: 10 }, (_, row) => ({
    box: [row, 10, row + 30, 50] as [number, number, number, number],
    score: 0.5,
  }));
  const people = await new PoseEstimator(session, info).estimate(image, boxes);
  assert.deepEqual(counts, [8, 2]);
  people.forEach((person, row) => {
    assert.ok(Math.abs(person.points[0] - (row + 15)) < 1e-4, "the crop's center is the box's");
    assert.ok(Math.abs(person.points[1] - 30) < 1e-4);
    assert.ok(Math.abs(person.score - 0.4) < 1e-6);
    assert.ok(Math.abs(person.covariances[0] - (50 / 64) ** 2) < 1e-5, "in the image's pixels");
  });
});

test("JSON is that of Poses.to_dict()", () => {
  const person = {
    id: 3, score: 0.5, box: [1, 2, 3, 4] as [number, number, number, number],
    points: Float32Array.of(5, 6), scores: Float32Array.of(1), covariances: Float32Array.of(1, 2, 3, 4),
  };
  const skeleton = {
    name: "one", joints: ["nose"], limbs: [], sigmas: [0.1], flip: [0], sides: [""], color_samples: null,
  };
  assert.deepEqual(toJson([person], skeleton), [
    {
      track_id: 3, score: 0.5, box: [1, 2, 3, 4],
      keypoints: { nose: { x: 5, y: 6, score: 1, covariance: [[1, 2], [3, 4]] } },
    },
  ]);
});

test("pairs have the largest total similarity, of all orders", () => {
  let seed = 1;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  for (let round = 0; round < 300; round++) {
    const rows = Math.floor(1 + 4 * random());
    const columns = Math.floor(1 + 4 * random());
    const similarity = Array.from({ length: rows }, () => Array.from({ length: columns }, random));
    const best = (row: number, used: number): number => {
      if (row === rows) return 0;
      let most = best(row + 1, used);
      similarity[row].forEach((value, column) => {
        if (value >= 0.3 && !(used & (1 << column))) {
          most = Math.max(most, value + best(row + 1, used | (1 << column)));
        }
      });
      return most;
    };
    const total = assign(similarity, 0.3).reduce((sum, [row, column]) => sum + similarity[row][column], 0);
    assert.ok(Math.abs(total - best(0, 0)) < 1e-9, JSON.stringify(similarity));
  }
  assert.throws(() => assign([[NaN]], 0.3), /NaN/);
});
