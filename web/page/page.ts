// The page: a camera, images or a video; people, ids and rate; everything on this device.

import { type Follower, load, type Manifest, type Pipeline, type Poses, type Skeleton } from "../src/index.js";
import { draw } from "./drawing.js";
import { prepare } from "./isolation.js";
import { Recording } from "./recording.js";

const element = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;
const ui = {
  camera: element<HTMLButtonElement>("camera"),
  pause: element<HTMLButtonElement>("pause"),
  file: element<HTMLInputElement>("file"),
  download: element<HTMLButtonElement>("download"),
  model: element<HTMLSelectElement>("model"),
  mirror: element<HTMLInputElement>("mirror"),
  smooth: element<HTMLInputElement>("smooth"),
  ids: element<HTMLInputElement>("ids"),
  progress: element<HTMLProgressElement>("progress"),
  status: element("status"),
  problem: element("problem"),
  canvas: element<HTMLCanvasElement>("canvas"),
  people: element("people"),
  shownIds: element("shown-ids"),
  rate: element("rate"),
  latency: element("latency"),
  backend: element("backend"),
};
/** A screen reader hears the number of people at most this often. */
const ANNOUNCE_MS = 3000;
/** So many files that cannot be decoded are named. */
const MAX_LISTED = 5;
const CAMERA_ERRORS: Record<string, string> = {
  NotAllowedError: "permission denied; allow it in the browser's settings of this page",
  NotFoundError: "there is none",
  NotReadableError: "another program uses it, or it is broken",
};

const context = ui.canvas.getContext("2d") as CanvasRenderingContext2D;
const recording = new Recording();
const video = document.createElement("video");
Object.assign(video, { muted: true, playsInline: true });
/** The newest action, a number: those before it end when they see that it is not theirs. */
let newest = 0;
/** Ends when the frame is done that the last action processes. */
let finished: Promise<void> = Promise.resolve();
let isCameraOn = false;
let pipeline: Pipeline;
let announcedAt = 0;
let smoothedMs = 0;
let lastShown: { source: CanvasImageSource; poses: Poses; skeleton: Skeleton } | null = null;

function report(problem: unknown): void {
  ui.problem.hidden = false;
  ui.problem.textContent = problem instanceof Error ? problem.message : String(problem);
}

function announce(text: string, always = true): void {
  const now = performance.now();
  if (!always && now - announcedAt < ANNOUNCE_MS) return;
  announcedAt = now;
  if (ui.status.textContent !== text) ui.status.textContent = text;
}

async function openModel(name: string | undefined): Promise<void> {
  setReady(false);
  ui.progress.hidden = false;
  announce("Loading the models");
  try {
    const parameters = new URLSearchParams(location.search);
    const said = parameters.get("threads");
    const threads = said === null ? undefined : Number(said);
    const backend = parameters.get("backend") as "wasm" | "webgpu" | null;
    const opened = await load({
      model: name,
      threads,
      backend: backend ?? "auto",
      onProgress: (loaded, total) => (ui.progress.value = loaded / total),
    });
    await pipeline?.release();
    pipeline = opened;
  } finally {
    ui.progress.hidden = true;
    setReady(pipeline !== undefined);
    if (pipeline) ui.model.value = pipeline.model;
  }
  const threads = pipeline.threads === 1 ? "1 thread" : `${pipeline.threads} threads`;
  ui.backend.textContent = pipeline.backend === "webgpu" ? "WebGPU" : `WASM, ${threads}`;
  announce("Ready");
}

function setReady(isReady: boolean): void {
  for (const control of [ui.camera, ui.file, ui.model]) control.disabled = !isReady;
}

/** Ends the last action, waits for the frame that it processes, and returns the new one's number. */
async function stop(): Promise<number> {
  const action = ++newest;
  await finished;
  if (action !== newest) return action;
  end(video.srcObject as MediaStream | null);
  video.pause();
  video.srcObject = null;
  if (video.src) {
    URL.revokeObjectURL(video.src);
    video.removeAttribute("src");
  }
  isCameraOn = false;
  ui.camera.textContent = "Start camera";
  ui.pause.disabled = true;
  ui.pause.textContent = "Pause";
  return action;
}

function end(stream: MediaStream | null): void {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

async function startCamera(): Promise<void> {
  const action = await stop();
  if (action !== newest) return;
  if (!navigator.mediaDevices) {
    throw new Error("no access to cameras; expected a page over https, or on localhost");
  }
  const stream = await openCamera();
  if (action !== newest) {
    end(stream);
    return;
  }
  const [track] = stream.getVideoTracks();
  track.addEventListener("ended", async () => {
    if (action !== newest) return;
    report("the camera gives no more images (unplugged, or its permission withdrawn?)");
    await stop();
  });
  ui.mirror.checked = track.getSettings().facingMode !== "environment";
  video.srcObject = stream;
  isCameraOn = true;
  ui.camera.textContent = "Stop camera";
  await play("camera", action);
}

async function openCamera(): Promise<MediaStream> {
  const size = { width: { ideal: 1280 }, height: { ideal: 720 } };
  try {
    return await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", ...size } });
  } catch (error) {
    const { name, message } = error as DOMException;
    throw new Error(`the camera cannot be used: ${CAMERA_ERRORS[name] ?? message}`);
  }
}

async function startVideo(file: File): Promise<void> {
  const action = await stop();
  if (action !== newest) return;
  ui.mirror.checked = false;
  video.src = URL.createObjectURL(file);
  await play(file.name, action);
}

async function play(name: string, action: number): Promise<void> {
  recording.start(pipeline.model, pipeline.skeleton);
  try {
    await video.play();
    if (video.videoWidth === 0) throw new Error("no images in it");
  } catch (error) {
    if (action !== newest) return; // it was interrupted
    await stop();
    if (name === "camera") throw error;
    throw new Error(`${name}: not a video that this browser can play (${(error as Error).message})`);
  }
  if (action !== newest) return;
  ui.pause.disabled = false;
  const follower = pipeline.follow({ smooth: ui.smooth.checked });
  finished = followVideo(name, follower, action).catch(async (error) => {
    if (action === newest) newest++;
    report(error);
  });
}

/** Frames of a camera or video are processed one after another, always the newest. */
async function followVideo(name: string, follower: Follower, action: number): Promise<void> {
  let lastS = -Infinity;
  let frames = 0;
  while (action === newest) {
    const mediaS = await nextFrame();
    if (mediaS === null || action !== newest) continue;
    const started = performance.now();
    const timeS = isCameraOn ? started / 1000 : mediaS;
    if (timeS < lastS) follower.forget(); // the video was rewound
    if (timeS === lastS) continue;
    follower.smooth = ui.smooth.checked;
    const frame = await createImageBitmap(video);
    const poses = await follower.step(frame, timeS);
    const elapsedMs = performance.now() - started;
    show(frame, poses);
    recording.add(name, timeS, poses);
    ui.download.disabled = false;
    showTiming(elapsedMs, timeS - lastS);
    lastS = timeS;
    ui.canvas.dataset.frames = `${++frames}`;
    const count = poses.people.length;
    announce(count === 1 ? "1 person" : `${count} people`, false);
  }
}

/** The next frame's time in the video; null after a quarter of a second without one. */
function nextFrame(): Promise<number | null> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      video.cancelVideoFrameCallback(handle);
      resolve(null);
    }, 250);
    const handle = video.requestVideoFrameCallback((_, { mediaTime }) => {
      clearTimeout(timer);
      resolve(mediaTime);
    });
  });
}

async function openFiles(files: File[]): Promise<void> {
  if (files.some(({ type }) => type.startsWith("video/"))) {
    if (files.length > 1) throw new Error("several files, one of them a video; expected one video, or images");
    await startVideo(files[0]);
    return;
  }
  const action = await stop();
  if (action !== newest) return;
  const images = openImages(files, action);
  finished = images.catch(() => {}); // reported here
  await images;
}

/** Processes images one after another; those that cannot be decoded are reported at the end. */
async function openImages(files: File[], action: number): Promise<void> {
  recording.start(pipeline.model, pipeline.skeleton);
  ui.mirror.checked = false;
  const problems: string[] = [];
  let done = 0;
  for (const [number, file] of files.entries()) {
    if (action !== newest) return;
    try {
      const started = performance.now();
      const { frame, poses } = await openImage(file);
      showTiming(performance.now() - started, null);
      show(frame, poses);
      recording.add(file.name, null, poses);
      ui.download.disabled = false;
      ui.canvas.dataset.frames = `${++done}`;
    } catch (error) {
      problems.push(`${file.name}: ${(error as Error).message}`);
    }
    announce(`${done} of ${files.length} images`, number === files.length - 1);
  }
  if (!problems.length) return;
  const others = problems.length > MAX_LISTED ? `; and ${problems.length - MAX_LISTED} more` : "";
  throw new Error(problems.slice(0, MAX_LISTED).join("; ") + others);
}

async function openImage(file: File): Promise<{ frame: ImageBitmap; poses: Poses }> {
  const frame = await createImageBitmap(file, { colorSpaceConversion: "none" }).catch(() => {
    throw new Error("not an image that this browser can decode (damaged, or too large?)");
  });
  try {
    return { frame, poses: await pipeline.estimate(frame) };
  } catch (error) {
    frame.close();
    throw error;
  }
}

function show(source: ImageBitmap, poses: Poses): void {
  if (lastShown && lastShown.source !== source) (lastShown.source as ImageBitmap).close();
  lastShown = { source, poses, skeleton: pipeline.skeleton };
  redraw();
  const count = poses.people.length;
  const ids = poses.people.map(({ id }) => id).filter((id) => id !== null);
  ui.people.textContent = `${count}`;
  ui.shownIds.textContent = ids.join(", ") || "none";
  ui.canvas.setAttribute("aria-label", count === 1 ? "Image with 1 person" : `Image with ${count} people`);
}

function redraw(): void {
  if (!lastShown) return;
  const options = { mirror: ui.mirror.checked, ids: ui.ids.checked };
  draw(context, lastShown.source, lastShown.poses, lastShown.skeleton, options);
}

function showTiming(elapsedMs: number, intervalS: number | null): void {
  ui.latency.textContent = `${elapsedMs.toFixed(0)} ms`;
  if (intervalS === null || !Number.isFinite(intervalS) || intervalS <= 0) {
    ui.rate.textContent = "none";
    smoothedMs = 0;
    return;
  }
  smoothedMs = smoothedMs ? 0.9 * smoothedMs + 100 * intervalS : 1000 * intervalS;
  ui.rate.textContent = `${(1000 / smoothedMs).toFixed(1)} frames/s`;
}

function download(): void {
  const link = document.createElement("a");
  const url = URL.createObjectURL(recording.toBlob());
  Object.assign(link, { href: url, download: "poses.json" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function togglePause(): void {
  const isPaused = ui.pause.textContent === "Resume";
  ui.pause.textContent = isPaused ? "Pause" : "Resume";
  if (isPaused) video.play().catch(report);
  else video.pause();
}

/** Runs an action and shows its error; a new action removes the last one's message. */
function on<E extends Event>(target: EventTarget, event: string, action: (event: E) => unknown): void {
  target.addEventListener(event, async (happened) => {
    ui.problem.hidden = true;
    try {
      await action(happened as E);
    } catch (error) {
      report(error);
    }
  });
}

on(ui.camera, "click", () => (isCameraOn ? stop() : startCamera()));
on(ui.pause, "click", togglePause);
on(ui.file, "change", async () => {
  const files = [...(ui.file.files ?? [])];
  ui.file.value = ""; // the same file may be opened again
  if (files.length) await openFiles(files);
});
document.addEventListener("dragover", (event) => event.preventDefault());
on<DragEvent>(document, "drop", async (event) => {
  event.preventDefault(); // or the browser leaves the page and opens the file instead
  const files = [...(event.dataTransfer?.files ?? [])];
  if (ui.file.disabled) throw new Error("the models are being loaded; expected files after that");
  if (!files.length) throw new Error("what was dropped is no file; expected images, or a video");
  await openFiles(files);
});
on(ui.download, "click", download);
on(ui.model, "change", async () => {
  await stop();
  await openModel(ui.model.value);
});
for (const control of [ui.mirror, ui.ids]) on(control, "change", redraw);

async function start(): Promise<void> {
  await prepare();
  const manifest = (await (await fetch("models.json")).json()) as Manifest;
  for (const { name } of manifest.poses) ui.model.append(new Option(name, name));
  await openModel(new URLSearchParams(location.search).get("model") ?? undefined);
  document.documentElement.dataset.ready = "yes";
}

start().catch(report);
