// Skeletons, ids, zones and lines on a canvas; colors as in slimpose.draw.

const COLORS = { left: "rgb(255 138 0)", right: "rgb(0 176 255)", center: "rgb(238 240 60)" };
const OUTLINE = "rgb(18 18 22)";
const GOLDEN_RATIO = (Math.sqrt(5) - 1) / 2;

export function trackColor(id) {
  if (id === null) return "rgb(230 230 230)";
  const saturation = 0.5 + 0.12 * (id % 3);  // of HSV with a value of 1, which HSL writes like this
  const lightness = 1 - saturation / 2;
  return `hsl(${((id * GOLDEN_RATIO) % 1) * 360} 100% ${lightness * 100}%)`;
}

function limbColor(a, b) {
  if (!a || !b) return COLORS[a || b || "center"];
  return a === b ? COLORS[a] : COLORS.center;
}

// Pixels of the canvas in one of the page.
function pixelRatio(canvas) {
  const shown = canvas.getBoundingClientRect();  // with bars, where its shape is another one
  return shown.width > 0 ? Math.max(canvas.width / shown.width, canvas.height / shown.height) : 1;
}

export function drawSkeletons(context, frame, skeleton, options) {
  const scale = context.canvas.width / frame.width;
  const ratio = pixelRatio(context.canvas);
  const widest = Math.max(ratio, Math.min(context.canvas.width, context.canvas.height) / 60);
  context.lineCap = "round";
  for (const person of frame.people) {
    const [x1, y1, x2, y2] = person.box;
    const size = Math.sqrt(Math.max(0, (x2 - x1) * (y2 - y1))) * scale;
    const width = Math.min(widest, Math.max(1.5 * ratio, size / 50));
    const points = skeleton.joints.map((_, joint) => ({
      x: (person.keypoints[3 * joint] + 0.5) * scale,  // pixel centers are at integers
      y: (person.keypoints[3 * joint + 1] + 0.5) * scale,
      shown: person.keypoints[3 * joint + 2] >= skeleton.keypoint_thresholds[frame.camera],
    }));
    if (options.skeletons) {
      for (const isOutline of [true, false]) {
        context.lineWidth = isOutline ? width + 2 : width;
        for (const [a, b] of skeleton.limbs) {
          if (!points[a].shown || !points[b].shown) continue;
          context.strokeStyle = isOutline ? OUTLINE : limbColor(skeleton.sides[a], skeleton.sides[b]);
          context.beginPath();
          context.moveTo(points[a].x, points[a].y);
          context.lineTo(points[b].x, points[b].y);
          context.stroke();
        }
        points.forEach((point, joint) => {
          if (!point.shown) return;
          context.fillStyle = isOutline ? OUTLINE : COLORS[skeleton.sides[joint] || "center"];
          context.beginPath();
          context.arc(point.x, point.y, 0.75 * width + (isOutline ? 1.5 : 0.5), 0, 2 * Math.PI);
          context.fill();
        });
      }
    }
    if (options.ids && person.id !== null) {
      const posture = options.postures?.[person.id];
      label(context, posture ? `${person.id} ${posture}` : `${person.id}`, x1 * scale, y1 * scale - 4, trackColor(person.id));
    }
  }
}

export function drawAreas(context, areas, counts) {
  const { width, height } = context.canvas;
  for (const area of areas) {
    const points = area.points.map(([x, y]) => [x * width, y * height]);
    context.beginPath();
    points.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.lineWidth = 2;
    const count = counts?.[area.name];
    if (area.kind === "zone") {
      context.closePath();
      context.fillStyle = "rgb(92 184 255 / 0.14)";
      context.fill();
      context.strokeStyle = "rgb(92 184 255)";
      context.stroke();
      label(context, `${area.name}: ${count?.people ?? 0}`, points[0][0], points[0][1], "rgb(92 184 255)");
    } else {
      context.strokeStyle = "rgb(255 110 199)";
      context.stroke();
      const text = `${area.name}: ${count?.in ?? 0} in, ${count?.out ?? 0} out`;
      arrow(context, points[0], points[1]);
      label(context, text, points[0][0], points[0][1], "rgb(255 110 199)");
    }
  }
}

// From the middle of a line to the side that counts as in: right of its direction.
function arrow(context, [x1, y1], [x2, y2]) {
  const length = Math.hypot(x2 - x1, y2 - y1) || 1;
  const [nx, ny] = [-(y2 - y1) / length, (x2 - x1) / length];
  const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(x + 14 * nx, y + 14 * ny);
  context.moveTo(x + 8 * nx - 5 * ny, y + 8 * ny + 5 * nx);
  context.lineTo(x + 14 * nx, y + 14 * ny);
  context.lineTo(x + 8 * nx + 5 * ny, y + 8 * ny - 5 * nx);
  context.stroke();
}

export function label(context, text, x, y, color) {
  const size = Math.round(13 * pixelRatio(context.canvas));
  context.font = `600 ${size}px system-ui, sans-serif`;
  const width = context.measureText(text).width + 8;
  const left = Math.min(Math.max(0, x), context.canvas.width - width);
  const top = Math.min(Math.max(0, y - size), context.canvas.height - size - 6);
  context.fillStyle = "rgb(10 14 18 / 0.75)";
  context.fillRect(left, top, width, size + 6);
  context.fillStyle = color;
  context.fillText(text, left + 4, top + size);
}
