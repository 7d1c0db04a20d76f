// Skeletons and ids on a canvas; colors as in slimpose.draw.

import type { Poses, Skeleton } from "../src/index.js";

const COLORS: Record<string, string> = {
  left: "rgb(255 138 0)",
  right: "rgb(0 176 255)",
  "": "rgb(238 240 60)",
};
const OUTLINE = "rgb(18 18 22)";
const GOLDEN_RATIO = (Math.sqrt(5) - 1) / 2;
/** Keypoints with lower scores are not drawn. */
const MIN_SHOWN_SCORE = 0.3;

export interface DrawOptions {
  mirror: boolean;
  ids: boolean;
}

/** Draws the frame and its people; with `mirror` all but the ids is mirrored. */
export function draw(
  context: CanvasRenderingContext2D,
  source: CanvasImageSource,
  poses: Poses,
  skeleton: Skeleton,
  options: DrawOptions,
): void {
  const { canvas } = context;
  const { width, height } = poses;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  context.setTransform(options.mirror ? -1 : 1, 0, 0, 1, options.mirror ? width : 0, 0);
  context.drawImage(source, 0, 0, width, height);
  context.lineCap = "round";
  for (const person of poses.people) {
    const [x1, y1, x2, y2] = person.box;
    const size = Math.sqrt((x2 - x1) * (y2 - y1));
    const lineWidth = Math.max(1.5, Math.min(size / 50, Math.min(width, height) / 60));
    drawPerson(context, person.points, person.scores, skeleton, lineWidth);
  }
  context.setTransform(1, 0, 0, 1, 0, 0);
  if (!options.ids) return;
  for (const { id, box } of poses.people) {
    if (id !== null) label(context, `${id}`, options.mirror ? width - box[2] : box[0], box[1], idColor(id));
  }
}

function drawPerson(
  context: CanvasRenderingContext2D,
  points: Float32Array,
  scores: Float32Array,
  skeleton: Skeleton,
  lineWidth: number,
): void {
  // Pixel centers are at integers here, on a canvas at halves.
  const place = (joint: number): [number, number] => [points[2 * joint] + 0.5, points[2 * joint + 1] + 0.5];
  const isShown = (joint: number) => scores[joint] >= MIN_SHOWN_SCORE;
  for (const isOutline of [true, false]) {
    context.lineWidth = isOutline ? lineWidth + 2 : lineWidth;
    for (const [a, b] of skeleton.limbs) {
      if (!isShown(a) || !isShown(b)) continue;
      context.strokeStyle = isOutline ? OUTLINE : limbColor(skeleton.sides[a], skeleton.sides[b]);
      context.beginPath();
      context.moveTo(...place(a));
      context.lineTo(...place(b));
      context.stroke();
    }
    skeleton.sides.forEach((side, joint) => {
      if (!isShown(joint)) return;
      context.fillStyle = isOutline ? OUTLINE : COLORS[side];
      context.beginPath();
      context.arc(...place(joint), 0.75 * lineWidth + (isOutline ? 1.5 : 0.5), 0, 2 * Math.PI);
      context.fill();
    });
  }
}

function limbColor(a: string, b: string): string {
  if (!a || !b) return COLORS[a || b];
  return COLORS[a === b ? a : ""];
}

function idColor(id: number): string {
  const saturation = 0.5 + 0.12 * (id % 3); // of HSV with a value of 1, which HSL writes like this
  return `hsl(${((id * GOLDEN_RATIO) % 1) * 360} 100% ${(1 - saturation / 2) * 100}%)`;
}

function label(context: CanvasRenderingContext2D, text: string, x: number, y: number, color: string): void {
  const { canvas } = context;
  const size = Math.max(13, Math.round(canvas.width / 60));
  context.font = `600 ${size}px system-ui, sans-serif`;
  const width = context.measureText(text).width + 8;
  const left = Math.min(Math.max(0, x), canvas.width - width);
  const top = Math.min(Math.max(0, y - size - 6), canvas.height - size - 6);
  context.fillStyle = "rgb(10 14 18 / 0.75)";
  context.fillRect(left, top, width, size + 6);
  context.fillStyle = color;
  context.fillText(text, left + 4, top + size);
}
