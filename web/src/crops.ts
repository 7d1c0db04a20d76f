// Model inputs from pixels, with OpenCV's arithmetic (slimpose/runtime/crops.py): a canvas scales
// differently from browser to browser, and its bilinear sampling aliases.

import { type Affine, type Box, clamp, cropAffine, resizeAffine, roundHalfEven, type Size } from "./geometry.js";

/** Pixels of four bytes, as in ImageData: red, green, blue, and one that is ignored. */
export interface Pixels extends Size {
  data: Uint8ClampedArray | Uint8Array;
}

/** How an image fills a detector's input. */
export type CanvasFit = "letterbox" | "letterbox-center" | "stretch";

const CANVAS_GRAY = 114;
/** OpenCV's warpAffine counts source pixels in 16 bits. */
const MAX_SIDE_PX = 32_766;

/**
 * Writes the crop of a box to `out` (height, width, 3) and returns the map from image to crop.
 * Pixels outside the image are black. Where a person is 1.5 times the crop's size or more, the
 * image is first shrunk by the nearest integer factor.
 */
export function cropPerson(image: Pixels, box: Box, crop: Size, out: Uint8Array): Affine {
  const affine = cropAffine(box, crop);
  const factor = Math.max(1, roundHalfEven(1 / affine.scaleX));
  if (factor === 1 && Math.max(image.width, image.height) <= MAX_SIDE_PX) {
    warp(image, affine, crop, out);
  } else {
    const [small, toCrop] = shrink(image, affine, crop, factor);
    warp(small, toCrop, crop, out);
  }
  return affine;
}

/** The crop's part of the image, shrunk, and the map from it to the crop. */
function shrink(image: Pixels, affine: Affine, crop: Size, factor: number): [Pixels, Affine] {
  const range = (shift: number, cropSide: number, side: number): [number, number] => {
    const low = Math.floor(-shift / affine.scaleX - factor);
    const high = Math.ceil((cropSide - shift) / affine.scaleX + factor);
    const start = clamp(low, 0, side - 1);
    return [start, clamp(high, start + 1, side)];
  };
  const [x1, x2] = range(affine.shiftX, crop.width, image.width);
  const [y1, y2] = range(affine.shiftY, crop.height, image.height);
  const width = Math.max(1, Math.floor((x2 - x1) / factor));
  const height = Math.max(1, Math.floor((y2 - y1) / factor));
  const part = {
    x: x1,
    y: y1,
    width: Math.min(x2 - x1, width * factor),
    height: Math.min(y2 - y1, height * factor),
  };
  const stepX = part.width / width;
  const stepY = part.height / height;
  return [
    resizeArea(image, part, { width, height }),
    {
      scaleX: affine.scaleX * stepX,
      scaleY: affine.scaleY * stepY,
      shiftX: affine.shiftX + affine.scaleX * (x1 + (stepX - 1) / 2),
      shiftY: affine.shiftY + affine.scaleX * (y1 + (stepY - 1) / 2),
    },
  ];
}

/** OpenCV's warpAffine, INTER_LINEAR, black outside: single precision, rounded to even. */
function warp(image: Pixels, affine: Affine, crop: Size, out: Uint8Array): void {
  const { data, width, height } = image;
  const fround = Math.fround;
  const inverse = 1 / (affine.scaleX * affine.scaleY);
  const stepX = fround(affine.scaleY * inverse);
  const stepY = fround(affine.scaleX * inverse);
  const startX = fround(-affine.scaleY * inverse * affine.shiftX);
  const startY = fround(-affine.scaleX * inverse * affine.shiftY);
  let to = 0;
  for (let row = 0; row < crop.height; row++) {
    const y = fround(fround(stepY * row) + startY);
    const top = Math.floor(y);
    const down = y - top;
    const hasTop = top >= 0 && top < height;
    const hasBottom = top >= -1 && top < height - 1;
    for (let column = 0; column < crop.width; column++, to += 3) {
      const x = fround(stepX * column + startX); // one rounding, as by an FMA
      const left = Math.floor(x);
      const right = x - left;
      const hasLeft = left >= 0 && left < width;
      const hasRight = left >= -1 && left < width - 1;
      const from = 4 * (top * width + left);
      for (let channel = 0; channel < 3; channel++) {
        const at = from + channel;
        const a = hasTop && hasLeft ? data[at] : 0;
        const b = hasTop && hasRight ? data[at + 4] : 0;
        const c = hasBottom && hasLeft ? data[at + 4 * width] : 0;
        const d = hasBottom && hasRight ? data[at + 4 * width + 4] : 0;
        const upper = fround(a + right * (b - a));
        const lower = fround(c + right * (d - c));
        out[to + channel] = roundHalfEven(fround(upper + down * fround(lower - upper)));
      }
    }
  }
}

/** A part of an image, in whole pixels. */
interface Part extends Size {
  x: number;
  y: number;
}

/** Resizes as OpenCV's INTER_AREA: area means where both sides shrink, else its bilinear form. */
export function resizeArea(image: Pixels, part: Part, size: Size): Pixels {
  const scaleX = part.width / size.width;
  const scaleY = part.height / size.height;
  if (scaleX < 1 || scaleY < 1) {
    return resizeBilinear(image, part, size, (to, scale) => {
      const from = Math.floor(to * scale);
      const fraction = to + 1 - (from + 1) / scale;
      return [from, fraction <= 0 ? 0 : fraction - Math.floor(fraction)];
    });
  }
  const isWhole = Number.isInteger(scaleX) && Number.isInteger(scaleY);
  return isWhole ? resizeWhole(image, part, size) : resizeFraction(image, part, size);
}

/** Area means of whole pixels: integer sums. */
function resizeWhole(image: Pixels, part: Part, size: Size): Pixels {
  const data = new Uint8ClampedArray(4 * size.width * size.height);
  const scaleX = part.width / size.width;
  const scaleY = part.height / size.height;
  const share = Math.fround(1 / (scaleX * scaleY));
  const isQuarter = scaleX === 2 && scaleY === 2; // there halves are rounded up
  for (let row = 0, to = 0; row < size.height; row++) {
    for (let column = 0; column < size.width; column++, to += 4) {
      const start = 4 * ((part.y + row * scaleY) * image.width + part.x + column * scaleX);
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        for (let y = 0; y < scaleY; y++) {
          let at = start + 4 * y * image.width + channel;
          for (let x = 0; x < scaleX; x++, at += 4) sum += image.data[at];
        }
        data[to + channel] = isQuarter ? (sum + 2) >> 2 : roundHalfEven(Math.fround(sum * share));
      }
    }
  }
  return { ...size, data };
}

/** Area means of parts of pixels: sums in single precision, first along rows, as in OpenCV. */
function resizeFraction(image: Pixels, part: Part, size: Size): Pixels {
  const { fround } = Math;
  const data = new Uint8ClampedArray(4 * size.width * size.height);
  const columns = areaWeights(part.width, size.width);
  const rows = areaWeights(part.height, size.height);
  const sums = new Float32Array(3 * size.width);
  const line = new Float32Array(3 * size.width);
  for (let entry = 0; entry < rows.from.length; entry++) {
    const start = 4 * ((part.y + rows.from[entry]) * image.width + part.x);
    line.fill(0);
    for (let column = 0; column < columns.from.length; column++) {
      const at = start + 4 * columns.from[column];
      const to = 3 * columns.to[column];
      const weight = columns.weight[column];
      line[to] += fround(weight * image.data[at]);
      line[to + 1] += fround(weight * image.data[at + 1]);
      line[to + 2] += fround(weight * image.data[at + 2]);
    }
    const weight = rows.weight[entry];
    for (let index = 0; index < sums.length; index++) sums[index] += fround(weight * line[index]);
    if (rows.to[entry] === rows.to[entry + 1]) continue;
    let to = 4 * rows.to[entry] * size.width;
    for (let index = 0; index < sums.length; index += 3, to += 4) {
      data[to] = roundHalfEven(sums[index]);
      data[to + 1] = roundHalfEven(sums[index + 1]);
      data[to + 2] = roundHalfEven(sums[index + 2]);
    }
    sums.fill(0);
  }
  return { ...size, data };
}

/** Which pixels a resized one covers, and the shares of its area: a row for each pair. */
interface AreaWeights {
  from: Int32Array;
  to: Int32Array;
  weight: Float32Array;
}

function areaWeights(fromCount: number, toCount: number): AreaWeights {
  const scale = fromCount / toCount;
  const from: number[] = [];
  const to: number[] = [];
  const weight: number[] = [];
  for (let index = 0; index < toCount; index++) {
    const start = index * scale;
    const end = start + scale;
    const cell = Math.min(scale, fromCount - start);
    const last = Math.min(Math.floor(end), fromCount - 1);
    const first = Math.min(Math.ceil(start), last);
    const add = (pixel: number, share: number): void => {
      from.push(pixel);
      to.push(index);
      weight.push(share / cell);
    };
    if (first - start > 1e-3) add(first - 1, first - start);
    for (let pixel = first; pixel < last; pixel++) add(pixel, 1);
    if (end - last > 1e-3) add(last, Math.min(end - last, 1, cell));
  }
  return { from: Int32Array.from(from), to: Int32Array.from(to), weight: Float32Array.from(weight) };
}

/** Resizes as OpenCV's INTER_LINEAR: weights of 11 bits. */
function resizeBilinear(
  image: Pixels,
  part: Part,
  size: Size,
  place: (to: number, scale: number) => [from: number, fraction: number],
): Pixels {
  const last = { x: part.width - 1, y: part.height - 1 };
  const weight = (share: number) => roundHalfEven(Math.fround(share) * 2048);
  const weights = (axis: "x" | "y", from: number, to: number): [number, number, number, number][] =>
    Array.from({ length: to }, (_, index) => {
      let [low, fraction] = place(index, from / to);
      // At the borders both neighbors are one pixel; only along y their shares are kept.
      if (axis === "x" && (low < 0 || low >= last.x)) fraction = 0;
      const high = clamp(low + 1, 0, last[axis]);
      low = clamp(low, 0, last[axis]);
      return [low, high, weight(1 - fraction), weight(fraction)];
    });
  const columns = weights("x", part.width, size.width);
  const data = new Uint8ClampedArray(4 * size.width * size.height);
  weights("y", part.height, size.height).forEach(([top, bottom, weightTop, weightBottom], row) => {
    const upper = 4 * ((part.y + top) * image.width + part.x);
    const lower = 4 * ((part.y + bottom) * image.width + part.x);
    columns.forEach(([left, right, weightLeft, weightRight], column) => {
      for (let channel = 0; channel < 3; channel++) {
        const across = (line: number): number =>
          (image.data[line + 4 * left + channel] * weightLeft +
            image.data[line + 4 * right + channel] * weightRight) >>
          4;
        const sum =
          ((weightTop * across(upper)) >> 16) + ((weightBottom * across(lower)) >> 16);
        data[4 * (row * size.width + column) + channel] = (sum + 2) >> 2;
      }
    });
  });
  return { ...size, data };
}

/** An image fitted into a detector's input: RGB (height, width, 3), and the map to it. */
export function fitCanvas(image: Pixels, canvas: Size, fit: CanvasFit): [Uint8Array, Affine] {
  let { width, height } = canvas;
  if (fit !== "stretch") {
    const scale = Math.fround(Math.min(height / image.height, width / image.width));
    width = Math.min(width, Math.max(1, roundHalfEven(image.width * scale)));
    height = Math.min(height, Math.max(1, roundHalfEven(image.height * scale)));
  }
  const affine = resizeAffine(image, { width, height });
  const whole = { x: 0, y: 0, width: image.width, height: image.height };
  const shrinks = width < image.width || height < image.height;
  const small = shrinks
    ? resizeArea(image, whole, { width, height })
    : resizeBilinear(image, whole, { width, height }, (to, scale) => {
        const center = Math.fround((to + 0.5) * scale - 0.5);
        return [Math.floor(center), Math.fround(center - Math.floor(center))];
      });
  const isCentered = fit === "letterbox-center";
  const top = isCentered ? Math.floor((canvas.height - height) / 2) : 0;
  const left = isCentered ? Math.floor((canvas.width - width) / 2) : 0;
  const out = new Uint8Array(3 * canvas.width * canvas.height).fill(CANVAS_GRAY);
  for (let row = 0, from = 0; row < height; row++) {
    let to = 3 * ((top + row) * canvas.width + left);
    for (let column = 0; column < width; column++, from += 4, to += 3) {
      out[to] = small.data[from];
      out[to + 1] = small.data[from + 1];
      out[to + 2] = small.data[from + 2];
    }
  }
  return [out, { ...affine, shiftX: affine.shiftX + left, shiftY: affine.shiftY + top }];
}
