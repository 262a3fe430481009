// The image of which a part is regenerated, and the brush that marks the part.

const $ = (id) => document.getElementById(id);

/** Below this, a value of a mask counts as black, and as transparent. */
const HALF = 128;

/** The colour of marked pixels, as the page shows them. */
const MARK = [194, 65, 12];

/** Draws an image so that it covers a canvas, cropped to its middle. */
function cover(canvas, image) {
  const scale = Math.max(canvas.width / image.width, canvas.height / image.height);
  const [width, height] = [image.width * scale, image.height * scale];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(
    image,
    (canvas.width - width) / 2,
    (canvas.height - height) / 2,
    width,
    height,
  );
}

/** Whether each pixel belongs to the part: if it is transparent, or white if nothing is. */
function partOf({ data }) {
  const pixels = Array.from({ length: data.length / 4 }, (_, i) => data.subarray(4 * i, 4 * i + 4));
  const transparent = pixels.map(([, , , alpha]) => alpha < HALF);
  if (transparent.includes(true)) return transparent;
  return pixels.map(([red, green, blue]) => red + green + blue >= 3 * HALF);
}

const png = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));

export class Editor {
  /** `onError` is called with the error of a file that is no image. */
  constructor(onError) {
    this.onError = onError;
    this.image = $("edit-image");
    /** The part is opaque, the rest transparent. */
    this.mask = $("edit-mask");
    this.mask.addEventListener("pointerdown", (event) => this.beginStroke(event));
    this.mask.addEventListener("pointermove", (event) => this.stroke(event));
    for (const name of ["pointerup", "pointercancel"])
      this.mask.addEventListener(name, () => (this.last = null));
    for (const [button, input] of [
      ["edit-choose", "edit-file"],
      ["edit-choose-mask", "edit-mask-file"],
    ])
      $(button).addEventListener("click", () => $(input).click());
    this.takeFiles("edit-file", (file) => this.open(file));
    this.takeFiles("edit-mask-file", (file) => this.openMask(file));
    $("edit-clear").addEventListener("click", () => this.clear());
    $("edit-remove").addEventListener("click", () => this.remove());
    const area = $("edit");
    area.addEventListener("drop", (event) => {
      event.preventDefault();
      event.stopPropagation();
      const [file] = event.dataTransfer.files;
      if (file) this.drop(file);
    });
  }

  takeFiles(input, take) {
    $(input).addEventListener("change", () => {
      const [file] = $(input).files;
      $(input).value = "";
      if (file) take(file).catch(this.onError);
    });
  }

  /** The size of the images that the model generates, written `WIDTHxHEIGHT`. */
  setSize(size) {
    const [width, height] = size.split("x").map(Number);
    for (const canvas of [this.image, this.mask]) Object.assign(canvas, { width, height });
    $("edit-canvas").style.aspectRatio = `${width} / ${height}`;
  }

  /** The first file is the image, the next one its mask. */
  drop(file) {
    (this.active ? this.openMask(file) : this.open(file)).catch(this.onError);
  }

  /** Takes an image, a file or a blob. */
  async open(file) {
    cover(this.image, await decoded(file));
    this.clear();
    this.setActive(true);
  }

  async openMask(file) {
    const read = document.createElement("canvas");
    Object.assign(read, { width: this.mask.width, height: this.mask.height });
    cover(read, await decoded(file));
    const pixels = read.getContext("2d").getImageData(0, 0, read.width, read.height);
    partOf(pixels).forEach((inside, i) => pixels.data.set([...MARK, inside ? 255 : 0], 4 * i));
    this.mask.getContext("2d").putImageData(pixels, 0, 0);
  }

  clear() {
    this.mask.getContext("2d").clearRect(0, 0, this.mask.width, this.mask.height);
  }

  remove() {
    this.clear();
    this.setActive(false);
  }

  setActive(active) {
    this.active = active;
    $("edit").open ||= active;
    $("edit-work").hidden = !active;
    $("edit-choose").textContent = active ? "Another image…" : "Choose an image…";
  }

  beginStroke(event) {
    event.preventDefault();
    this.mask.setPointerCapture(event.pointerId);
    this.last = this.place(event);
    this.stroke(event);
  }

  /** Marks a line from the last place of the pointer. */
  stroke(event) {
    if (!this.last) return;
    const place = this.place(event);
    const context = this.mask.getContext("2d");
    context.globalCompositeOperation = $("edit-erase").checked ? "destination-out" : "source-over";
    context.strokeStyle = `rgb(${MARK.join(" ")})`;
    context.lineWidth = (Number($("edit-brush").value) / 100) * this.mask.width;
    context.lineCap = "round";
    context.beginPath();
    context.moveTo(...this.last);
    context.lineTo(...place);
    context.stroke();
    this.last = place;
  }

  /** The place of the pointer in pixels of the image. */
  place({ clientX, clientY }) {
    const box = this.mask.getBoundingClientRect();
    return [
      ((clientX - box.left) / box.width) * this.mask.width,
      ((clientY - box.top) / box.height) * this.mask.height,
    ];
  }

  /** The files of the image and its mask, or null without an image. */
  async files() {
    if (!this.active) return null;
    const { width, height } = this.mask;
    const mask = Object.assign(document.createElement("canvas"), { width, height });
    const context = mask.getContext("2d");
    const marked = this.mask.getContext("2d").getImageData(0, 0, width, height);
    const inside = (i) => marked.data[4 * i + 3] >= HALF;
    if (!Array.from({ length: width * height }, (_, i) => i).some(inside))
      throw new Error("mark the part of the image to regenerate");
    for (let i = 0; i < width * height; i++)
      marked.data.set(inside(i) ? [255, 255, 255, 255] : [0, 0, 0, 255], 4 * i);
    context.putImageData(marked, 0, 0);
    return { image: await png(this.image), mask: await png(mask) };
  }
}

async function decoded(file) {
  try {
    return await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name ?? "this"} is not an image`);
  }
}
