// Pixels of images, videos and canvases, at their own size.

import type { Pixels } from "./crops.js";

export type ImageInput =
  | HTMLImageElement
  | HTMLVideoElement
  | HTMLCanvasElement
  | OffscreenCanvas
  | ImageBitmap
  | VideoFrame
  | Blob
  | ImageData
  | Pixels;

/** Reads pixels through one canvas that is kept, in memory of the processor. */
export class PixelReader {
  private context: OffscreenCanvasRenderingContext2D | null = null;

  /** The image's pixels; of a Blob those of an image file, turned as its EXIF data says. */
  async read(input: ImageInput): Promise<Pixels> {
    if (input instanceof Blob) {
      const bitmap = await createImageBitmap(input, { colorSpaceConversion: "none" });
      try {
        return this.draw(bitmap, bitmap.width, bitmap.height);
      } finally {
        bitmap.close();
      }
    }
    if ("data" in input) return input;
    if ("videoWidth" in input) return this.draw(input, input.videoWidth, input.videoHeight);
    if ("naturalWidth" in input) return this.draw(input, input.naturalWidth, input.naturalHeight);
    if ("displayWidth" in input) return this.draw(input, input.displayWidth, input.displayHeight);
    return this.draw(input, input.width, input.height);
  }

  private draw(source: CanvasImageSource, width: number, height: number): Pixels {
    if (!(width > 0 && height > 0)) {
      throw new RangeError(
        `the image is ${width}x${height} pixels; expected some (not loaded yet, or no image?)`,
      );
    }
    if (!this.context) {
      const canvas = new OffscreenCanvas(width, height);
      this.context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
      if (!this.context) throw new Error("this browser gives no 2D canvas (out of memory?)");
    }
    const { canvas } = this.context;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    this.context.drawImage(source, 0, 0, width, height);
    return this.context.getImageData(0, 0, width, height);
  }
}
