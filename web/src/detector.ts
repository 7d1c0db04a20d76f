// The person detector (slimpose/runtime/detector.py).

import { fitCanvas, type Pixels } from "./crops.js";
import { type Box, clipped, inverse, iou, isLarge, transformed } from "./geometry.js";
import type { DetectorInfo } from "./models.js";
import type { Session } from "./runtime.js";

export interface ScoredBox {
  box: Box;
  score: number;
}

export class Detector {
  constructor(
    private readonly session: Pick<Session, "run">,
    private readonly info: DetectorInfo,
  ) {}

  /** The people's boxes in image pixels, the best first. */
  async detect(image: Pixels, scoreThreshold = this.info.score_threshold): Promise<ScoredBox[]> {
    const { info } = this;
    const [canvas, affine] = fitCanvas(image, info, info.fit);
    const [boxes, scores] = await this.session.run(canvas, 1, info.height, info.width, [
      "boxes",
      "scores",
    ]);
    const toImage = inverse(affine);
    const found: ScoredBox[] = [];
    scores.forEach((score, row) => {
      if (!(score > scoreThreshold)) return;
      const corners = transformed(boxes.subarray(4 * row, 4 * row + 4), toImage);
      const box = clipped(corners, image);
      if (isLarge(box)) found.push({ box, score });
    });
    return withoutOverlaps(found, info.nms_iou_threshold);
  }
}

/** Non-maximum suppression: a box is dropped if its IoU with a better kept one is larger. */
function withoutOverlaps(found: ScoredBox[], iouThreshold: number): ScoredBox[] {
  const kept: ScoredBox[] = [];
  for (const candidate of [...found].sort((a, b) => b.score - a.score)) {
    if (kept.every(({ box }) => iou(box, candidate.box) <= iouThreshold)) kept.push(candidate);
  }
  return kept;
}
