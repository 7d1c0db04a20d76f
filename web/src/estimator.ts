// Poses of people in known boxes (slimpose/runtime/estimator.py).

import { cropPerson, type Pixels } from "./crops.js";
import type { ScoredBox } from "./detector.js";
import { type Affine, inverse, transformed } from "./geometry.js";
import type { PoseModelInfo } from "./models.js";
import { type Person, personScore } from "./poses.js";
import type { Session } from "./runtime.js";

/** Crops of one call; more are split. */
const MAX_BATCH = 8;
const OUTPUTS = ["points", "scores", "covariances"] as const;

export class PoseEstimator {
  constructor(
    private readonly session: Pick<Session, "run">,
    private readonly info: PoseModelInfo,
  ) {}

  async estimate(image: Pixels, boxes: ScoredBox[]): Promise<Person[]> {
    const people: Person[] = [];
    for (let start = 0; start < boxes.length; start += MAX_BATCH) {
      people.push(...(await this.batch(image, boxes.slice(start, start + MAX_BATCH))));
    }
    return people;
  }

  private async batch(image: Pixels, boxes: ScoredBox[]): Promise<Person[]> {
    const { height, width, skeleton } = this.info;
    const joints = skeleton.joints.length;
    const bytes = 3 * height * width;
    const crops = new Uint8Array(boxes.length * bytes);
    const affines = boxes.map(({ box }, row) =>
      cropPerson(image, box, this.info, crops.subarray(row * bytes, (row + 1) * bytes)),
    );
    const outputs = await this.session.run(crops, boxes.length, height, width, OUTPUTS);
    return boxes.map(({ box, score }, row) => {
      const part = (output: number, values: number): Float32Array =>
        outputs[output].slice(row * joints * values, (row + 1) * joints * values);
      const scores = part(1, 1);
      return {
        id: null,
        score: personScore(scores, score),
        box,
        points: transformed(part(0, 2), inverse(affines[row])),
        scores,
        covariances: part(2, 4).map((value, index) => value / areaScale(affines[row], index % 4)),
      };
    });
  }
}

/** What divides xx, xy, yx or yy of a covariance in the crop. */
function areaScale({ scaleX, scaleY }: Affine, entry: number): number {
  return (entry < 2 ? scaleX : scaleY) * (entry % 2 ? scaleY : scaleX);
}
