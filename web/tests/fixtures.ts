// What Python computed; tests/support/web_fixtures.py writes it for each run of the tests.

import { readFileSync } from "node:fs";
import type { Pixels } from "../src/crops.js";

const folder = process.env.FIXTURES;
if (!folder) throw new Error("FIXTURES is not set; expected the folder that tests/web/test_module.py writes");

export const read = <T>(name: string): T => JSON.parse(readFileSync(`${folder}/${name}`, "utf8")) as T;

export const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "base64"));

/** RGB pixels with the fourth byte that browsers add. */
export function pixels(rgb: Uint8Array, width: number, height: number): Pixels {
  const data = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let pixel = 0; pixel < width * height; pixel++) {
    data.set(rgb.subarray(3 * pixel, 3 * pixel + 3), 4 * pixel);
  }
  return { width, height, data };
}
