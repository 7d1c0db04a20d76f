// Draws a zone or line over a camera and shows it as text for cameras.toml.

import { label } from "./drawing.js";

const byId = (id) => document.getElementById(id);

export class AreaEditor {
  constructor(options) {
    this.options = options;
    this.camera = null;
    byId("copy-area").addEventListener("click", async () => {
      byId("area-text").select();
      await navigator.clipboard?.writeText(byId("area-text").value).catch(() => null);
      byId("copy-area").textContent = "Copied";
    });
  }

  attach(camera) {
    camera.canvas.addEventListener("pointerdown", (event) => this.add(camera, event));
  }

  start(camera) {
    this.cancel();
    this.camera = camera;
    this.hint = document.createElement("p");
    this.hint.className = "note hint";
    this.hint.textContent = "Tap the corners; tap the first one again to close a zone, the second one to end a line.";
    camera.find(".draw").textContent = "Cancel";
    this.hint.setAttribute("role", "status");
    camera.element.append(this.hint);
    document.body.classList.add("is-drawing");
  }

  toggle(camera) {
    if (!this.cancel()) this.start(camera);
  }

  // Stops drawing; returns whether something was being drawn.
  cancel() {
    if (!this.camera) return false;
    this.camera.draft = [];
    this.camera.draw(this.options());
    this.camera.find(".draw").textContent = "Draw zone";
    this.camera = null;
    this.hint.remove();
    document.body.classList.remove("is-drawing");
    return true;
  }

  add(camera, event) {
    if (this.camera !== camera) return;
    event.preventDefault();
    const box = camera.canvas.getBoundingClientRect();
    const scale = Math.min(box.width / camera.canvas.width, box.height / camera.canvas.height);
    const left = box.left + (box.width - scale * camera.canvas.width) / 2;
    const top = box.top + (box.height - scale * camera.canvas.height) / 2;
    const x = (event.clientX - left) / scale / camera.canvas.width;
    const y = (event.clientY - top) / scale / camera.canvas.height;
    if (x < 0 || y < 0 || x > 1 || y > 1) return;
    const draft = camera.draft;
    const near = ([px, py]) => Math.hypot((px - x) * box.width, (py - y) * box.height) < 24;
    if (draft.length >= 3 && near(draft[0])) this.finish("zones");
    else if (draft.length === 2 && near(draft[1])) this.finish("lines");
    else {
      draft.push([x, y]);
      camera.draw(this.options());
      label(camera.context, `${draft.length}`, x * camera.canvas.width, y * camera.canvas.height, "white");
    }
  }

  finish(kind) {
    const points = this.camera.draft.map(([x, y]) => `[${x.toFixed(3)}, ${y.toFixed(3)}]`).join(", ");
    const name = this.camera.find("h2").title;
    const key = /^[\w-]+$/.test(name) ? name : "NAME";
    const area = kind === "zones" ? "zone-1" : "line-1";
    byId("area-text").value = `[cameras.${key}.${kind}.${area}]\npoints = [${points}]\n`;
    byId("copy-area").textContent = "Copy";
    this.cancel();
    byId("area").showModal();
  }
}
