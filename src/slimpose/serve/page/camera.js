// The card of one camera.

import { drawAreas, drawSkeletons } from "./drawing.js";

export class Camera {
  constructor(number, template, skeleton, areas) {
    this.number = number;
    this.skeleton = skeleton;
    this.areas = areas;
    this.counts = {};
    this.postures = {};
    this.draft = [];
    this.element = template.content.firstElementChild.cloneNode(true);
    this.element.dataset.camera = number;
    this.canvas = this.find("canvas");
    this.context = this.canvas.getContext("2d");
    this.bitmap = null;
    this.frame = null;
    this.find(".snapshot").href = `/api/cameras/${number}/snapshot.jpg`;
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  // Decodes and draws a frame; resolves when it is on the screen.
  async show(frame, jpeg, options) {
    const bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
    this.bitmap?.close();
    this.bitmap = bitmap;
    this.frame = frame;
    this.draw(options);
  }

  draw(options) {
    if (!this.bitmap) return;
    if (this.canvas.width !== this.bitmap.width || this.canvas.height !== this.bitmap.height) {
      this.canvas.width = this.bitmap.width;
      this.canvas.height = this.bitmap.height;
    }
    this.context.drawImage(this.bitmap, 0, 0);
    if (options.areas) drawAreas(this.context, this.areas, this.counts);
    drawSkeletons(this.context, this.frame, this.skeleton, { ...options, postures: this.postures });
    if (this.draft.length) this.drawDraft();
    this.canvas.dataset.frame = this.frame.frame;
  }

  drawDraft() {
    const { width, height } = this.canvas;
    this.context.fillStyle = this.context.strokeStyle = "white";
    this.context.lineWidth = 2;
    this.context.beginPath();
    this.draft.forEach(([x, y]) => this.context.lineTo(x * width, y * height));
    this.context.stroke();
    this.draft.forEach(([x, y]) => this.context.fillRect(x * width - 3, y * height - 3, 6, 6));
  }

  update(state, counts, postures) {
    this.counts = counts ?? {};
    this.postures = postures ?? {};
    const isLive = state.state === "live";
    const word = state.connections > 0 && ["waiting", "connecting"].includes(state.state) ? "lost" : state.state;
    this.find("h2").textContent = `${this.number + 1} ${state.name}`;
    this.find("h2").title = state.name;
    this.find(".pill").textContent = word;
    this.find(".pill").className = `pill ${word}`;
    this.find(".overlay").textContent = isLive ? "" : state.problem || word;
    this.element.classList.toggle("is-down", !isLive);
    this.element.setAttribute("aria-label", `Camera ${this.number + 1}, ${state.name}: ${word}`);
    const people = state.people === 1 ? "1 person" : `${state.people} people`;
    this.find(".people").textContent = isLive ? people : "";
    this.find(".people").hidden = !isLive;
    this.canvas.setAttribute("aria-label", `Newest frame: ${isLive ? people : word}`);
    const ms = (value) => (state.frames ? `${Math.round(value)} ms` : "–");
    this.find(".fps").textContent = `${state.fps.toFixed(1)} fps`;
    this.find(".p50").textContent = ms(state.latency_p50_ms);
    this.find(".p95").textContent = ms(state.latency_p95_ms);
    this.find(".dropped").textContent = state.dropped;
    this.find(".snapshot").hidden = state.frames === 0;
    this.find(".reopened").textContent = `${Math.max(0, state.connections - 1)}x`;
    this.find(".counts").replaceChildren(...this.areas.map((area) => {
      const item = document.createElement("li");
      const count = this.counts[area.name] ?? {};
      item.textContent = area.kind === "zone"
        ? `${area.name}: ${count.people ?? 0}`
        : `${area.name}: ${count.in ?? 0} in, ${count.out ?? 0} out`;
      return item;
    }));
  }

  // Entries are [start_s, fps, mean people, most people, longest latency in ms].
  showHistory(entries, bucketSeconds, nowSeconds) {
    const svg = this.find("svg");
    const most = Math.max(1, ...entries.map((entry) => entry[3]));
    // As long as there is something to show: from five minutes to an hour.
    const oldest = entries.length ? entries[0][0] : nowSeconds;
    const span = Math.min(3600, Math.max(300, nowSeconds - oldest));
    const first = nowSeconds - span;
    const x = (entry) => ((entry[0] - first) / span) * 360;
    const y = (value) => 42 - (40 * value) / most;
    const runs = [];  // of entries without a gap
    for (const entry of entries.filter((one) => one[0] >= first)) {
      const run = runs.at(-1);
      if (run && entry[0] - run.at(-1)[0] <= 1.5 * bucketSeconds) run.push(entry);
      else runs.push([entry]);
    }
    const width = (bucketSeconds / span) * 360;
    const line = (run) => run.map((entry) => `${x(entry)},${y(entry[2])} ${x(entry) + width},${y(entry[2])}`);
    svg.replaceChildren(
      shape("line", { x1: 0, y1: 42, x2: 360, y2: 42, class: "axis" }),
      ...runs.map((run) => shape("polygon", {
        points: `${x(run[0])},42 ${line(run).join(" ")} ${x(run.at(-1)) + width},42`, class: "area",
      })),
      ...runs.map((run) => shape("polyline", { points: line(run).join(" "), class: "top" })),
    );
    const period = span < 3600 ? `last ${Math.round(span / 60)} minutes` : "last hour";
    const text = `people, ${period}: ${entries.length ? `at most ${most}` : "none yet"}`;
    svg.setAttribute("aria-label", text);
    this.find("figcaption").textContent = text;
  }
}

function shape(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
