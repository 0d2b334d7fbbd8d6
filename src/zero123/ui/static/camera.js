// The camera plot: the input camera, the target camera on its sphere, and the object between them. Orthographic.
// Runs inside gr.HTML: element, props, trigger and watch are its. props.value is [azimuth, elevation, radius] of the
// move, degrees and world units; props.photo the object as a data URL; props.height the input's elevation, degrees.
const RADIUS = 1.85, FAR = 2.25, LENS = Math.tan((49.1 / 2) * Math.PI / 180), RAD = Math.PI / 180;
const canvas = element.querySelector("canvas"), words = element.querySelector(".camera-words");
const ink = canvas.getContext("2d"), picture = new Image();
const observer = { yaw: 38 * RAD, pitch: 24 * RAD };
let move = [...props.value], held = null;

const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
const wrap = (deg) => ((deg + 180) % 360 + 360) % 360 - 180;
const height = () => Number(props.height) || 0;
const scale = () => Math.min(canvas.clientWidth, canvas.clientHeight) / 2 / FAR;
const style = (name) => getComputedStyle(element).getPropertyValue(name).trim();

function place(azimuth, elevation, radius) {
  const a = azimuth * RAD, e = elevation * RAD;
  return [radius * Math.cos(e) * Math.cos(a), radius * Math.cos(e) * Math.sin(a), radius * Math.sin(e)];
}
const source = () => place(0, height(), RADIUS);
const target = () => place(move[0], height() + move[1], RADIUS + move[2]);

function axes() {
  const { yaw, pitch } = observer, sy = Math.sin(yaw), cy = Math.cos(yaw), sp = Math.sin(pitch), cp = Math.cos(pitch);
  return { right: [-sy, cy, 0], up: [-sp * cy, -sp * sy, cp], near: [cp * cy, cp * sy, sp] };
}
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const add = (a, b, k = 1) => a.map((v, i) => v + k * b[i]);
const unit = (a) => { const n = Math.hypot(...a) || 1; return a.map((v) => v / n); };
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
function screen(point) {
  const { right, up } = axes(), s = scale();
  return [canvas.clientWidth / 2 + s * dot(point, right), canvas.clientHeight / 2 - s * dot(point, up)];
}

function line(points, colour, width, dash = []) {
  ink.beginPath();
  points.forEach((p, i) => ink[i ? "lineTo" : "moveTo"](...screen(p)));
  ink.strokeStyle = colour; ink.lineWidth = width; ink.setLineDash(dash); ink.stroke(); ink.setLineDash([]);
}

function sphere() {
  const faint = style("--plot-grid"), strong = style("--plot-horizon");
  for (let e = -60; e <= 60; e += 30)
    line(Array.from({ length: 73 }, (_, i) => place(i * 5, e, RADIUS)), e ? faint : strong, 1);
  for (let a = 0; a < 180; a += 30)
    line(Array.from({ length: 73 }, (_, i) => place(a, i * 5, RADIUS)), faint, 1);
}

function frame(centre) {  // right and up of a camera that looks at the middle
  const ahead = unit(centre.map((v) => -v));
  const flat = Math.hypot(ahead[0], ahead[1]) > 1e-6 ? [0, 0, 1] : [-Math.cos(move[0] * RAD), -Math.sin(move[0] * RAD), 0];
  const right = unit(cross(ahead, flat));
  return { ahead, right, up: cross(right, ahead) };
}

function camera(centre, colour, filled) {
  const { ahead, right, up } = frame(centre), reach = 0.42, half = reach * LENS;
  const middle = add(centre, ahead, reach);
  const corners = [[-1, 1], [1, 1], [1, -1], [-1, -1]].map(([x, y]) => add(add(middle, right, x * half), up, y * half));
  ink.beginPath(); corners.forEach((p, i) => ink[i ? "lineTo" : "moveTo"](...screen(p))); ink.closePath();
  ink.globalAlpha = filled ? 0.3 : 0.12; ink.fillStyle = colour; ink.fill(); ink.globalAlpha = 1;
  line([...corners, corners[0]], colour, 1.6);
  corners.forEach((p) => line([centre, p], colour, 1.6));
  const top = add(middle, up, half * 1.7);
  line([corners[0], top, corners[1]], colour, 1.6);  // which way is up
  ink.beginPath(); ink.arc(...screen(centre), filled ? 4 : 3, 0, 7); ink.fillStyle = colour; ink.fill();
}

function card() {  // the object's own picture, standing in the middle and facing the input camera
  if (!picture.complete || !picture.naturalWidth) return;
  const { right, up } = frame(source()), side = 1.5, s = scale(), view = axes();
  const corner = screen(add(add([0, 0, 0], right, -side / 2), up, side / 2)), k = side * s / picture.naturalWidth;
  ink.save();
  ink.transform(k * dot(right, view.right), -k * dot(right, view.up), -k * dot(up, view.right), k * dot(up, view.up), ...corner);
  ink.globalAlpha = 0.95; ink.drawImage(picture, 0, 0); ink.restore();
}

function arc() {  // the way from the input camera to the target
  const [azimuth, elevation, radius] = move, steps = 48;
  const along = Array.from({ length: steps + 1 }, (_, i) => place(azimuth * i / steps, height(), RADIUS));
  const up = Array.from({ length: steps + 1 }, (_, i) =>
    place(azimuth, height() + elevation * i / steps, RADIUS + radius * i / steps));
  line([...along, ...up], style("--plot-target"), 1.4, [4, 4]);
}

function draw() {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, tall = canvas.clientHeight;
  if (!width || !tall) return;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(tall * ratio)) {
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(tall * ratio);
  }
  ink.setTransform(ratio, 0, 0, ratio, 0, 0);
  ink.clearRect(0, 0, width, tall);
  const parts = [
    [0, sphere], [0.001, card], [0.002, arc],
    [dot(source(), axes().near), () => camera(source(), style("--plot-source"), false)],
    [dot(target(), axes().near), () => camera(target(), style("--plot-target"), true)],
  ];
  parts.sort((a, b) => a[0] - b[0]).forEach(([, paint]) => paint());
  words.textContent = said();
}

function said() {
  const [azimuth, elevation, radius] = move.map((v) => Math.round(v * 100) / 100), parts = [];
  if (azimuth) parts.push(`${Math.abs(azimuth)}° to the ${azimuth > 0 ? "right" : "left"}`);
  if (elevation) parts.push(`${Math.abs(elevation)}° ${elevation > 0 ? "up" : "down"}`);
  if (radius) parts.push(`${Math.abs(radius)} ${radius > 0 ? "further" : "closer"}`);
  return parts.join(", ") || "where the picture was taken";
}

function set(next, kind) {
  move = [Math.round(wrap(next[0])), Math.round(clamp(next[1], -90, 90)), Math.round(clamp(next[2], -0.5, 0.5) * 100) / 100];
  props.value = [...move];
  draw();
  trigger(kind);
}

function onSphere(x, y) {  // the place of the sphere under the pointer, on the side the camera was held
  const { right, up, near } = axes(), radius = RADIUS + move[2];
  const across = (x - canvas.clientWidth / 2) / scale() / radius, along = (canvas.clientHeight / 2 - y) / scale() / radius;
  const reach = Math.hypot(across, along);
  if (reach > 1) held.out = true;
  else if (held.out && reach < 0.97) { held.side = -held.side; held.out = false; }  // it went round the rim
  const k = reach > 1 ? 1 / reach : 1, deep = held.side * Math.sqrt(Math.max(0, 1 - Math.min(1, reach) ** 2));
  const point = add(add(right.map((v) => v * across * k), up, along * k), near, deep);
  return [Math.atan2(point[1], point[0]) / RAD, Math.asin(clamp(point[2], -1, 1)) / RAD];
}

const at = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
const reaches = (x, y) => { const [a, b] = screen(target()), m = screen(target().map((v) => v * 0.8));
  return Math.min(Math.hypot(x - a, y - b), Math.hypot(x - m[0], y - m[1])) < 34; };

canvas.addEventListener("pointerdown", (event) => {
  const [x, y] = at(event);
  canvas.setPointerCapture(event.pointerId); canvas.focus({ preventScroll: true });
  held = { camera: reaches(x, y), side: dot(target(), axes().near) < 0 ? -1 : 1, out: false, x, y };
});
canvas.addEventListener("pointermove", (event) => {
  const [x, y] = at(event);
  if (!held) { canvas.style.cursor = reaches(x, y) ? "grab" : "move"; return; }
  if (held.camera) {
    const [azimuth, elevation] = onSphere(x, y);
    set([azimuth, elevation - height(), move[2]], "input");
  } else {
    observer.yaw -= (x - held.x) * 0.008;
    observer.pitch = clamp(observer.pitch + (y - held.y) * 0.008, -1.4, 1.4);
    held.x = x; held.y = y; draw();
  }
});
const letGo = () => { if (held?.camera) trigger("release"); held = null; };
canvas.addEventListener("pointerup", letGo);
canvas.addEventListener("pointercancel", letGo);
canvas.addEventListener("keydown", (event) => {
  const step = event.shiftKey ? 1 : 5, [azimuth, elevation, radius] = move;
  const next = { ArrowRight: [azimuth + step, elevation, radius], ArrowLeft: [azimuth - step, elevation, radius],
    ArrowUp: [azimuth, elevation + step, radius], ArrowDown: [azimuth, elevation - step, radius],
    "+": [azimuth, elevation, radius - 0.05], "-": [azimuth, elevation, radius + 0.05], Home: [0, 0, 0] }[event.key];
  if (next) { event.preventDefault(); set(next, "input"); }
});

window.zero123.plot = (azimuth, elevation, radius) => { if (!held) { move = [azimuth, elevation, radius]; draw(); } };
const show = () => { picture.onload = draw; if (props.photo) picture.src = props.photo; else picture.removeAttribute("src"); draw(); };
watch(["photo", "height"], show);
new ResizeObserver(draw).observe(canvas);
new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
show();
