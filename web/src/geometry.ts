// Coordinates and boxes, as in slimpose/geometry.py: pixel centers are at integers, so an image of
// width W covers -0.5 .. W - 0.5.

/** x1, y1, x2, y2 in pixels. */
export type Box = [number, number, number, number];

/** A map of pixels without rotation: x -> scaleX * x + shiftX, and the same for y. */
export interface Affine {
  scaleX: number;
  scaleY: number;
  shiftX: number;
  shiftY: number;
}

export interface Size {
  height: number;
  width: number;
}

/** Scale of a person's crop relative to the box. */
const BOX_PADDING = 1.25;
/** Boxes with a shorter side are dropped: too few pixels for a pose. */
export const MIN_BOX_PX = 4;

export const clamp = (value: number, low: number, high: number): number =>
  Math.min(Math.max(value, low), high);

/** Rounds as Python and OpenCV do: halves to the even number. */
export function roundHalfEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** Fails unless a box is finite and has an area. */
export function checkBox(box: Box): void {
  const [x1, y1, x2, y2] = box;
  if (!(box.every(Number.isFinite) && x1 < x2 && y1 < y2)) {
    throw new RangeError(
      `box has no area: x1=${x1} y1=${y1} x2=${x2} y2=${y2}; expected finite x1 < x2 and y1 < y2 ` +
        "in pixels (is it x, y, width, height?)",
    );
  }
}

/** The map from image to crop pixels: the box, extended to the crop's aspect ratio, and padded. */
export function cropAffine(box: Box, crop: Size): Affine {
  checkBox(box);
  const [x1, y1, x2, y2] = box;
  const { fround } = Math; // boxes are single precision in Python
  const scale =
    Math.min(crop.width / fround(x2 - x1), crop.height / fround(y2 - y1)) / BOX_PADDING;
  return {
    scaleX: fround(scale),
    scaleY: fround(scale),
    shiftX: fround((crop.width - 1) / 2 - (scale * (x1 + x2)) / 2),
    shiftY: fround((crop.height - 1) / 2 - (scale * (y1 + y2)) / 2),
  };
}

/** The map from an image's pixels to those of the resized image. */
export function resizeAffine(size: Size, resized: Size): Affine {
  const scaleX = resized.width / size.width;
  const scaleY = resized.height / size.height;
  const { fround } = Math;
  return {
    scaleX: fround(scaleX),
    scaleY: fround(scaleY),
    shiftX: fround((scaleX - 1) / 2),
    shiftY: fround((scaleY - 1) / 2),
  };
}

/** The map back, in single precision. */
export function inverse(affine: Affine): Affine {
  const { fround } = Math;
  return {
    scaleX: fround(1 / affine.scaleX),
    scaleY: fround(1 / affine.scaleY),
    shiftX: fround(-affine.shiftX / affine.scaleX),
    shiftY: fround(-affine.shiftY / affine.scaleY),
  };
}

/** Maps coordinates x, y, x, y, ... in single precision. */
export function transformed(points: Float32Array, affine: Affine): Float32Array {
  return points.map((value, index) =>
    index % 2
      ? Math.fround(affine.scaleY * value) + affine.shiftY
      : Math.fround(affine.scaleX * value) + affine.shiftX,
  );
}

export const area = ([x1, y1, x2, y2]: Box): number => (x2 - x1) * (y2 - y1);

/** Intersection over union. */
export function iou(a: Box, b: Box): number {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  const intersection = Math.max(width, 0) * Math.max(height, 0);
  return Math.fround(intersection / Math.max(area(a) + area(b) - intersection, 1e-9));
}

/** The box within an image. */
export function clipped(box: ArrayLike<number>, size: Size): Box {
  return Array.from(box, (value, index) =>
    clamp(value, -0.5, (index % 2 ? size.height : size.width) - 0.5),
  ) as Box;
}

export const isLarge = ([x1, y1, x2, y2]: Box): boolean =>
  x2 - x1 >= MIN_BOX_PX && y2 - y1 >= MIN_BOX_PX;

/**
 * The rows of the `maxPeople` boxes of largest area, in their order; all if it is undefined.
 * People who were kept before are preferred: another must be 1.3 times as large.
 */
export function largestPeople(
  boxes: Box[],
  maxPeople: number | undefined,
  isPreferred: (row: number) => boolean = () => false,
): number[] {
  const rows = boxes.map((_, row) => row);
  if (maxPeople === undefined || boxes.length <= maxPeople) return rows;
  const areas = boxes.map((box, row) => area(box) * (isPreferred(row) ? 1.3 : 1));
  return rows
    .sort((a, b) => areas[b] - areas[a])
    .slice(0, maxPeople)
    .sort((a, b) => a - b);
}
