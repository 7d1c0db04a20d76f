import assert from "node:assert/strict";
import { test } from "node:test";
import type { Pixels } from "../src/crops.js";
import type { ScoredBox } from "../src/detector.js";
import { Follower, type FollowerOptions } from "../src/follower.js";
import type { Box } from "../src/geometry.js";
import type { Person, Skeleton } from "../src/poses.js";
import { pixels, read } from "./fixtures.js";

interface Recorded {
  box: Box;
  points: number[];
  scores: number[];
  covariances: number[];
  score: number;
}

interface Scene {
  name: string;
  width: number;
  height: number;
  options: FollowerOptions;
  frames: {
    time_s: number;
    rectangles: number[][];
    detected: ScoredBox[] | null;
    estimated: Recorded[];
    people: { id: number; box: Box; points: number[] }[];
  }[];
}

const { skeleton, scenes } = read<{ skeleton: Skeleton; scenes: Scene[] }>("follower.json");

function paint(width: number, height: number, rectangles: number[][]): Pixels {
  const rgb = new Uint8Array(3 * width * height).fill(90);
  for (const [x1, y1, x2, y2, ...color] of rectangles) {
    for (let y = y1; y < y2; y++) {
      for (let x = x1; x < x2; x++) rgb.set(color, 3 * (y * width + x));
    }
  }
  return pixels(rgb, width, height);
}

const closeTo = (actual: ArrayLike<number>, expected: ArrayLike<number>, within: number, what: string) => {
  assert.equal(actual.length, expected.length, what);
  for (let index = 0; index < actual.length; index++) {
    const difference = Math.abs(actual[index] - expected[index]);
    assert.ok(difference <= within, `${what}: ${actual[index]}; expected ${expected[index]}`);
  }
};

/** Models that return what Python's did, and fail where they are asked something else. */
class RecordedModels {
  frame = 0;

  constructor(private readonly scene: Scene) {}

  async detect(): Promise<ScoredBox[]> {
    const { detected } = this.scene.frames[this.frame];
    assert.ok(detected, `frame ${this.frame}: the detector ran; expected no run`);
    return detected;
  }

  async estimate(_: Pixels, boxes: ScoredBox[]): Promise<Person[]> {
    const { estimated } = this.scene.frames[this.frame];
    const what = `frame ${this.frame}: boxes of the pose model`;
    assert.equal(boxes.length, estimated.length, what);
    return boxes.map(({ box }, row) => {
      const recorded = estimated[row];
      closeTo(box, recorded.box, 0.01, what);
      return {
        id: null,
        score: recorded.score,
        box,
        points: Float32Array.from(recorded.points),
        scores: Float32Array.from(recorded.scores),
        covariances: Float32Array.from(recorded.covariances),
      };
    });
  }
}

for (const scene of scenes) {
  test(`the follower returns the people of Python's: ${scene.name}`, async () => {
    const models = new RecordedModels(scene);
    const follower = new Follower({ detector: models, estimator: models, skeleton }, scene.options);
    let detections = 0;
    for (const [number, frame] of scene.frames.entries()) {
      models.frame = number;
      detections += frame.detected ? 1 : 0;
      const image = paint(scene.width, scene.height, frame.rectangles);
      const { people } = await follower.step(image, frame.time_s);
      const ids = people.map(({ id }) => id);
      assert.deepEqual(ids, frame.people.map(({ id }) => id), `ids of frame ${number}`);
      assert.equal(follower.detections, detections, `detections up to frame ${number}`);
      people.forEach(({ box, points }, row) => {
        closeTo(box, frame.people[row].box, 0.01, `frame ${number}: box`);
        closeTo(points, frame.people[row].points, 0.01, `frame ${number}: smoothed points`);
      });
    }
  });
}

const nobody = { detect: async () => [], estimate: async () => [] };
const newFollower = (options?: FollowerOptions) =>
  new Follower({ detector: nobody, estimator: nobody, skeleton }, options);
const image = paint(160, 120, []);

test("time that does not increase is rejected, and a step after it works", async () => {
  const follower = newFollower();
  await follower.step(image, 1);
  await assert.rejects(follower.step(image, 1), /the time went from 1 s to 1 s/);
  await follower.step(image, 1.1);
  follower.forget();
  await follower.step(image, 0);
});

test("a second frame before the first is done is rejected", async () => {
  const follower = newFollower();
  const first = follower.step(image, 1);
  await assert.rejects(follower.step(image, 2), /not done yet/);
  await first;
});

test("invalid options are rejected", () => {
  assert.throws(() => newFollower({ detectEvery: 0 }), /detectEvery is 0/);
  assert.throws(() => newFollower({ maxPeople: 1.5 }), /maxPeople is 1.5/);
});
