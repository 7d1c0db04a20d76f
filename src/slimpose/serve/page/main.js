// The page: a grid of cameras, one of them enlarged, settings, events, keys.

import { AreaEditor } from "./area_editor.js";
import { Camera } from "./camera.js";
import { Connection } from "./connection.js";

const byId = (id) => document.getElementById(id);
const options = { skeletons: true, ids: true, areas: true };
let cameras = [];
let enlarged = null;
let settings = null;
const visible = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const number = Number(entry.target.dataset.camera);
    if (entry.isIntersecting) visible.add(number);
    else visible.delete(number);
  }
  askForVisible();
});
const editor = new AreaEditor(() => options);

const connection = new Connection({
  hello(message) {
    watcher.disconnect();
    visible.clear();
    cameras = message.cameras.map(
      (_, number) => new Camera(number, byId("camera-template"), message, message.areas[number]),
    );
    byId("cameras").replaceChildren(...cameras.map((camera) => camera.element));
    for (const camera of cameras) {
      watcher.observe(camera.element);
      camera.find(".enlarge").addEventListener("click", () => toggle(camera));
      editor.attach(camera);
      camera.find(".draw").addEventListener("click", () => editor.toggle(camera));
    }
    byId("no-cameras").hidden = cameras.length > 0;
    byId("own-address").textContent = `${location.origin}/`;
    enlarge(cameras[enlarged?.number] ?? null);
    makeSwitches(message.cameras);
    this.state(message);
    updateHistory();
  },
  state(message) {
    settings = message.settings;
    message.cameras.forEach((state, number) => cameras[number]?.update(state, message.counts[number], message.postures[number]));
    const live = message.cameras.filter((camera) => camera.state === "live").length;
    const people = message.cameras.reduce((sum, camera) => sum + camera.people, 0);
    setText(byId("summary"), message.cameras.length
      ? `${live} of ${message.cameras.length} cameras live, ${people === 1 ? "1 person" : `${people} people`}`
      : "ready");
    showSettings();
    showEvents(message.events);
  },
  async frame(frame, jpeg) {
    await cameras[frame.camera]?.show(frame, jpeg, options);
  },
  lost() {
    setText(byId("summary"), "The server does not answer; trying again");
    for (const camera of cameras) {
      camera.element.classList.add("is-down");
      camera.find(".overlay").textContent = "no connection to the server";
    }
  },
});

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;  // read aloud only when it changes
}

function askForVisible() {
  connection.show(document.hidden ? [] : [...visible]);
}
document.addEventListener("visibilitychange", askForVisible);

async function updateHistory() {
  const answer = await fetch("/api/history").catch(() => null);
  if (!answer?.ok) return;
  const history = await answer.json();
  history.cameras.forEach((entries, number) => {
    cameras[number]?.showHistory(entries, history.bucket_s, Date.now() / 1000);
  });
}
setInterval(() => document.hidden || updateHistory(), 10000);

function enlarge(camera) {
  enlarged = camera;
  document.body.classList.toggle("is-enlarged", camera !== null);
  for (const one of cameras) {
    one.element.classList.toggle("enlarged", one === camera);
    one.find(".enlarge").textContent = one === camera ? "All" : "Enlarge";
  }
}

function toggle(camera) {
  editor.cancel();
  enlarge(enlarged === camera ? null : camera);
  camera.element.focus();
}

// Settings

function makeSwitches(states) {
  byId("camera-switches").replaceChildren(...states.map((state, number) => {
    const label = document.createElement("label");
    const box = document.createElement("input");
    label.className = "switch";
    box.type = "checkbox";
    box.addEventListener("change", () => {
      const enabled = [...settings.enabled];
      enabled[number] = box.checked;
      change({ enabled });
    });
    label.append(box, ` ${number + 1} ${state.name}`);
    return label;
  }));
}

function showSettings() {
  const threshold = byId("threshold");
  if (document.activeElement !== threshold) threshold.value = settings.score_threshold;
  byId("threshold-value").textContent = Number(threshold.value).toFixed(2);
  byId("smooth").checked = settings.smooth;
  byId("camera-switches").querySelectorAll("input").forEach((box, number) => {
    box.checked = settings.enabled[number];
  });
}

async function change(values) {
  const answer = await fetch("/api/settings", { method: "PATCH", body: JSON.stringify(values) }).catch(() => null);
  if (answer?.ok) settings = await answer.json();
  showSettings();
}

byId("open-settings").addEventListener("click", () => byId("settings").showModal());
byId("threshold").addEventListener("input", (event) => {
  byId("threshold-value").textContent = Number(event.target.value).toFixed(2);
});
byId("threshold").addEventListener("change", (event) => change({ score_threshold: Number(event.target.value) }));
byId("smooth").addEventListener("change", (event) => change({ smooth: event.target.checked }));
for (const name of Object.keys(options)) {
  byId(`show-${name}`).addEventListener("change", (event) => {
    options[name] = event.target.checked;
    for (const camera of cameras) camera.draw(options);
  });
}

// Events

function showEvents(events) {
  byId("events").hidden = events.length === 0;
  byId("event-list").replaceChildren(...events.map((event) => {
    const item = document.createElement("li");
    const time = document.createElement("time");
    time.dateTime = new Date(1000 * event.time_s).toISOString();
    time.textContent = new Date(1000 * event.time_s).toLocaleTimeString();
    item.append(time, event.text);
    return item;
  }));
}

// Keys

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const focused = cameras.find((camera) => camera.element.contains(document.activeElement));
  const current = enlarged ?? focused;
  const digit = Number(event.key);
  if (digit >= 1 && cameras[digit - 1]) {
    toggle(cameras[digit - 1]);
  } else if (["ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"].includes(event.key) && cameras.length) {
    const step = ["ArrowRight", "ArrowDown"].includes(event.key) ? 1 : -1;
    const start = current ? current.number : step > 0 ? -1 : 0;
    const next = cameras[(start + step + cameras.length) % cameras.length];
    if (enlarged) enlarge(next);
    next.element.focus();
    event.preventDefault();
  } else if (event.key === "Enter" && focused && document.activeElement === focused.element) {
    toggle(focused);
  } else if (event.key === "Escape") {
    if (!editor.cancel()) enlarge(null);
  } else if (event.key.toLowerCase() === "s" && current) {
    current.find(".snapshot").click();
  } else if (event.key.toLowerCase() === "z" && current) {
    enlarge(current);
    editor.start(current);
  }
});
