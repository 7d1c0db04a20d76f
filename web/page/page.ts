// The page: a camera, images or a video; people, ids and rate; everything on this device.

import { type Follower, load, type Manifest, type Pipeline, type Poses } from "../src/index.js";
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

const context = ui.canvas.getContext("2d") as CanvasRenderingContext2D;
const recording = new Recording();
const video = document.createElement("video");
Object.assign(video, { muted: true, playsInline: true });
/** Frames of a camera or video are processed one after another, always the newest. */
let run: { name: string; follower: Follower; isCamera: boolean; stop: boolean } | null = null;
let pipeline: Pipeline;
let announcedAt = 0;
let smoothedMs = 0;
let lastShown: { source: CanvasImageSource; poses: Poses } | null = null;

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
    const threads = Number(parameters.get("threads")) || undefined;
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

/**
 * Ends the camera, video or images, and waits for the frame that is being processed. Returns whether
 * nothing else was opened since: what still waits for a permission or a file then gives up.
 */
let finished: Promise<void> = Promise.resolve();
let latest = 0;
async function stop(): Promise<() => boolean> {
  const turn = ++latest;
  if (run) run.stop = true;
  await finished;
  run = null;
  if (video.srcObject) {
    for (const track of (video.srcObject as MediaStream).getTracks()) track.stop();
  }
  video.pause();
  video.srcObject = null;
  if (video.src) {
    URL.revokeObjectURL(video.src);
    video.removeAttribute("src");
  }
  ui.camera.textContent = "Start camera";
  ui.pause.disabled = true;
  ui.pause.textContent = "Pause";
  return () => turn === latest;
}

async function startCamera(): Promise<void> {
  const isLatest = await stop();
  if (!navigator.mediaDevices) {
    throw new Error("no access to cameras; expected a page over https, or on localhost");
  }
  const stream = await navigator.mediaDevices
    .getUserMedia({ video: { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 720 } } })
    .catch((error) => {
      throw new Error(`no camera: ${error.message} (not allowed for this page, or used elsewhere?)`);
    });
  if (!isLatest()) {
    for (const track of stream.getTracks()) track.stop();
    return;
  }
  ui.mirror.checked = stream.getVideoTracks()[0].getSettings().facingMode !== "environment";
  video.srcObject = stream;
  ui.camera.textContent = "Stop camera";
  await play("camera", true, isLatest);
}

async function startVideo(file: File): Promise<void> {
  const isLatest = await stop();
  if (!isLatest()) return;
  ui.mirror.checked = false;
  video.src = URL.createObjectURL(file);
  await play(file.name, false, isLatest);
}

async function play(name: string, isCamera: boolean, isLatest: () => boolean): Promise<void> {
  recording.clear();
  try {
    await video.play();
  } catch {
    if (!isLatest()) return;
    await stop();
    throw new Error(`${name}: not a video that this browser can play (damaged?)`);
  }
  if (!isLatest()) return;
  const current = { name, isCamera, follower: pipeline.follow({ smooth: ui.smooth.checked }), stop: false };
  run = current;
  ui.pause.disabled = false;
  finished = followVideo(current).catch(report);
}

async function followVideo(current: NonNullable<typeof run>): Promise<void> {
  let lastS = -Infinity;
  let frames = 0;
  while (!current.stop) {
    const mediaS = await nextFrame();
    if (mediaS === null || current.stop) continue;
    const started = performance.now();
    const timeS = current.isCamera ? started / 1000 : mediaS;
    if (timeS < lastS) current.follower.forget(); // the video was rewound
    if (timeS === lastS) continue;
    current.follower.smooth = ui.smooth.checked;
    const frame = await createImageBitmap(video);
    const poses = await current.follower.step(frame, timeS);
    const elapsedMs = performance.now() - started;
    show(frame, poses);
    recording.add(current.name, timeS, poses);
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
  const first = files[0];
  if (first.type.startsWith("video/")) {
    if (files.length > 1) throw new Error("several files, one of them a video; expected one video, or images");
    await startVideo(first);
    return;
  }
  const isLatest = await stop();
  if (!isLatest()) return;
  recording.clear();
  ui.mirror.checked = false;
  finished = estimateImages(files, isLatest).catch(report);
  await finished;
}

/** Estimates images one after another; those that cannot be decoded are reported at the end. */
async function estimateImages(files: File[], isLatest: () => boolean): Promise<void> {
  const problems: string[] = [];
  let done = 0;
  for (const file of files) {
    const frame = await createImageBitmap(file, { colorSpaceConversion: "none" }).catch(() => null);
    if (!isLatest()) return;
    if (!frame) {
      problems.push(`${file.name}: not an image that this browser can decode (damaged?)`);
      continue;
    }
    const started = performance.now();
    const poses = await pipeline.estimate(frame);
    if (!isLatest()) return;
    showTiming(performance.now() - started, null);
    show(frame, poses);
    recording.add(file.name, null, poses);
    ui.download.disabled = false;
    ui.canvas.dataset.frames = `${++done}`;
    announce(`${done} of ${files.length} images`, done === files.length);
  }
  if (problems.length) throw new Error(problems.join("\n"));
}

function show(source: ImageBitmap, poses: Poses): void {
  if (lastShown && lastShown.source !== source) (lastShown.source as ImageBitmap).close();
  lastShown = { source, poses };
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
  draw(context, lastShown.source, lastShown.poses, pipeline.skeleton, options);
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
  const url = URL.createObjectURL(recording.toBlob(pipeline.model, pipeline.skeleton));
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
function on<E extends Event>(target: EventTarget, type: string, action: (event: E) => unknown): void {
  target.addEventListener(type, async (event) => {
    ui.problem.hidden = true;
    try {
      await action(event as E);
    } catch (error) {
      report(error);
    }
  });
}

on(ui.camera, "click", () => (run?.isCamera ? stop() : startCamera()));
on(ui.pause, "click", togglePause);
on(ui.file, "change", async () => {
  const files = [...(ui.file.files ?? [])];
  ui.file.value = ""; // the same file may be opened again
  if (files.length) await openFiles(files);
});
// Without these the browser would leave the page and show the dropped file.
document.addEventListener("dragover", (event) => event.preventDefault());
on<DragEvent>(document, "drop", async (event) => {
  event.preventDefault();
  const files = [...(event.dataTransfer?.files ?? [])];
  if (ui.file.disabled) throw new Error("the models are still being loaded; expected files after that");
  if (files.length) await openFiles(files);
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
