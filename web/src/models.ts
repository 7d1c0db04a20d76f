// The exported folder's models.json, and the files of models.

import type { CanvasFit } from "./crops.js";
import type { Skeleton } from "./poses.js";

interface ModelFile {
  name: string;
  /** Relative to models.json. */
  file: string;
  bytes: number;
  /** As a browser checks it: sha256- and the hash in base 64. */
  integrity: string;
  height: number;
  width: number;
}

export interface PoseModelInfo extends ModelFile {
  skeleton: Skeleton;
}

export interface DetectorInfo extends ModelFile {
  fit: CanvasFit;
  score_threshold: number;
  nms_iou_threshold: number;
}

/** models.json, as `slimpose export --web` writes it. */
export interface Manifest {
  version: 1;
  runtime: { version: string; folder: string };
  poses: PoseModelInfo[];
  detector: DetectorInfo;
}

export async function readManifest(url: URL): Promise<Manifest> {
  const response = await fetch(url);
  if (!response.ok) {
    throw new Error(
      `${url.pathname}: the server answers ${response.status}; ` +
        "expected models.json of slimpose export --web",
    );
  }
  const manifest = (await response.json()) as Manifest;
  if (manifest.version !== 1) {
    throw new Error(
      `${url.pathname} has version ${manifest.version}; expected 1 (module and folder of ` +
        "different versions of slimpose?)",
    );
  }
  return manifest;
}

/** Downloads a model; the browser compares it with its hash. */
export async function downloadModel(
  model: ModelFile,
  manifest: URL,
  onBytes: (bytes: number) => void,
): Promise<Uint8Array> {
  const url = new URL(model.file, manifest);
  let response: Response;
  try {
    response = await fetch(url, { integrity: model.integrity });
  } catch (error) {
    throw new Error(
      `${url.pathname}: cannot be loaded, or is not the file of models.json (${error})`,
    );
  }
  if (!response.ok || !response.body) {
    throw new Error(`${url.pathname}: the server answers ${response.status}; expected the model`);
  }
  const file = new Uint8Array(model.bytes);
  const reader = response.body.getReader();
  let received = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    file.set(part.value, received);
    received += part.value.length;
    onBytes(part.value.length);
  }
  return file;
}
