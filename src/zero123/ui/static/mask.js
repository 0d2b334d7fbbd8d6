// The mask brush: the picture with what is not the object dimmed; strokes keep or remove. Runs inside gr.HTML.
// props.picture and props.mask are data URLs of one size; props.value becomes the new mask, a data URL of a grey PNG.
const canvas = element.querySelector("canvas"), ink = canvas.getContext("2d");
const [keep, remove, undo, apply] = ["keep", "remove", "undo", "apply"].map((n) => element.querySelector(`[data-do=${n}]`));
const size = element.querySelector("input"), mask = document.createElement("canvas"), picture = new Image(), first = new Image();
let keeping = true, last = null, pointer = null, before = [];
const touch = mask.getContext("2d", { willReadFrequently: true });

function draw() {
  if (!canvas.width) return;
  ink.globalCompositeOperation = "source-over"; ink.globalAlpha = 1;
  ink.clearRect(0, 0, canvas.width, canvas.height);
  ink.drawImage(mask, 0, 0);
  ink.globalCompositeOperation = "source-in"; ink.drawImage(picture, 0, 0, canvas.width, canvas.height);
  ink.globalCompositeOperation = "destination-over"; ink.globalAlpha = 0.22;
  ink.drawImage(picture, 0, 0, canvas.width, canvas.height);
  ink.globalCompositeOperation = "source-over"; ink.globalAlpha = 1;
  if (pointer) {
    ink.beginPath(); ink.arc(...pointer, width() / 2, 0, 7);
    ink.lineWidth = canvas.width / 250; ink.strokeStyle = keeping ? "#14b8a6" : "#f43f5e"; ink.stroke();
  }
}
const width = () => (Number(size.value) / 100) * Math.max(canvas.width, canvas.height);
function start() {
  if (!picture.naturalWidth || !first.naturalWidth) return;
  for (const c of [canvas, mask]) { c.width = picture.naturalWidth; c.height = picture.naturalHeight; }
  const grey = document.createElement("canvas"); grey.width = mask.width; grey.height = mask.height;
  const pen = grey.getContext("2d"); pen.drawImage(first, 0, 0, grey.width, grey.height);
  const data = pen.getImageData(0, 0, grey.width, grey.height);
  for (let i = 0; i < data.data.length; i += 4) { data.data[i + 3] = data.data[i]; data.data[i] = data.data[i + 1] = data.data[i + 2] = 255; }
  touch.putImageData(data, 0, 0);
  before = []; element.classList.add("has-picture"); draw();
}
const at = (e) => { const b = canvas.getBoundingClientRect(); return [(e.clientX - b.left) * canvas.width / b.width, (e.clientY - b.top) * canvas.height / b.height]; };
function stroke(from, to) {
  touch.globalCompositeOperation = keeping ? "source-over" : "destination-out";
  touch.lineCap = "round"; touch.lineWidth = width(); touch.strokeStyle = "#fff";
  touch.beginPath(); touch.moveTo(...from); touch.lineTo(to[0] + 0.01, to[1]); touch.stroke();
}
canvas.addEventListener("pointerdown", (e) => {
  if (!canvas.width) return;
  before.push(touch.getImageData(0, 0, mask.width, mask.height)); before = before.slice(-12);
  canvas.setPointerCapture(e.pointerId); last = at(e); stroke(last, last); pointer = last; draw();
});
canvas.addEventListener("pointermove", (e) => { pointer = at(e); if (last) { stroke(last, pointer); last = pointer; } draw(); });
canvas.addEventListener("pointerup", () => { last = null; });
canvas.addEventListener("pointercancel", () => { last = null; });
canvas.addEventListener("pointerleave", () => { pointer = null; draw(); });
function mode(k) { keeping = k; keep.setAttribute("aria-pressed", k); remove.setAttribute("aria-pressed", !k); draw(); }
keep.addEventListener("click", () => mode(true));
remove.addEventListener("click", () => mode(false));
undo.addEventListener("click", () => { const old = before.pop(); if (old) { touch.putImageData(old, 0, 0); draw(); } });
apply.addEventListener("click", () => {
  if (!mask.width) return;
  const flat = document.createElement("canvas"); flat.width = mask.width; flat.height = mask.height;
  const pen = flat.getContext("2d"); pen.fillStyle = "#000"; pen.fillRect(0, 0, flat.width, flat.height); pen.drawImage(mask, 0, 0);
  props.value = flat.toDataURL("image/png"); trigger("submit");
});
function show() {
  element.classList.remove("has-picture");
  picture.onload = start; first.onload = start;
  for (const [image, url] of [[picture, props.picture], [first, props.mask]]) {
    if (url) image.src = url; else image.removeAttribute("src");
  }
}
watch(["picture", "mask"], show);
mode(true);
show();  // it may have been given its picture before it was first opened
