import assert from "node:assert/strict";
import { test } from "node:test";
import { type CanvasFit, cropPerson, fitCanvas } from "../src/crops.js";
import type { Box, Size } from "../src/geometry.js";
import { bytes, pixels, read } from "./fixtures.js";

interface Case {
  name: string;
  image: Size & { rgb: string };
  crop_size: Size;
  canvas_size: Size;
  boxes: Box[];
  crops: string[];
  canvases: Record<CanvasFit, string>;
}

for (const it of read<Case[]>("pixels.json")) {
  const image = pixels(bytes(it.image.rgb), it.image.width, it.image.height);

  it.boxes.forEach((box, index) => {
    test(`crop ${index} is that of OpenCV: ${it.name}`, () => {
      const crop = new Uint8Array(3 * it.crop_size.height * it.crop_size.width);
      cropPerson(image, box, it.crop_size, crop);
      assertSame(crop, bytes(it.crops[index]));
    });
  });

  for (const [fit, expected] of Object.entries(it.canvases)) {
    test(`canvas ${fit} is that of OpenCV: ${it.name}`, () => {
      assertSame(fitCanvas(image, it.canvas_size, fit as CanvasFit)[0], bytes(expected));
    });
  }
}

/** Random pixels, so that every rounding shows: a few of them may differ by one level. */
function assertSame(actual: Uint8Array, expected: Uint8Array): void {
  assert.equal(actual.length, expected.length);
  let others = 0;
  actual.forEach((value, index) => {
    const difference = Math.abs(value - expected[index]);
    assert.ok(difference <= 1, `byte ${index} is ${value}; expected ${expected[index]}`);
    others += difference;
  });
  assert.ok(others <= 0.0005 * actual.length, `${others} of ${actual.length} bytes differ`);
}

test("a box without an area is rejected", () => {
  const image = pixels(new Uint8Array(12), 2, 2);
  const crop = new Uint8Array(3 * 64 * 48);
  assert.throws(() => cropPerson(image, [5, 5, 5, 9], { height: 64, width: 48 }, crop), /has no area/);
});
