// A slice on a canvas: grey values through a window, labels over them, what is being drawn on top.
//
// Places are rows and columns of the slice. Voxel (r, c) covers [r, r + 1) x [c, c + 1); its centre is r + 0.5, c + 0.5,
// and that is (r, c) in what is sent to the server.

const LEVELS = 65536;
const ZOOMS = [0.02, 80];

export function rgb(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

export class SliceView {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.grey = new OffscreenCanvas(1, 1);
    this.tint = new OffscreenCanvas(1, 1);
    this.table = new Uint8Array(LEVELS);
    this.slice = null;
    this.layers = [];
    this.look = { opacity: 0.5, overlay: true, outlines: false };
    this.scale = 1;
    this.left = 0;
    this.top = 0;
    this.fitted = true;
    this.above = () => {};
    this.onzoom = () => {};
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  // -- what is shown ----------------------------------------------------------------------------------------

  // slice: { values (Uint16Array), rows, columns, low, high }; stretch: height and width of a voxel on the screen
  show(slice, stretch) {
    const other = !this.slice || slice.rows !== this.slice.rows || slice.columns !== this.slice.columns;
    this.slice = slice;
    this.stretch = stretch;
    if (other) {
      this.grey = new OffscreenCanvas(slice.columns, slice.rows);
      this.tint = new OffscreenCanvas(slice.columns, slice.rows);
      this.layers = [];
      this.fit();
    }
    this.paintGrey();
  }

  clear() {
    this.slice = null;
    this.draw();
  }

  // Values from black to white; they are windowed in 16 bits, and only then made 8.
  window(black, white, invert) {
    const { low, high } = this.slice;
    const first = ((black - low) / (high - low)) * (LEVELS - 1);
    const last = ((white - low) / (high - low)) * (LEVELS - 1);
    const width = Math.max(last - first, 1e-6);
    for (let value = 0; value < LEVELS; value++) {
      const part = Math.min(1, Math.max(0, (value - first) / width));
      this.table[value] = Math.round(255 * (invert ? 1 - part : part));
    }
    this.paintGrey();
  }

  paintGrey() {
    if (!this.slice) return;
    const { values, rows, columns } = this.slice;
    const image = new ImageData(columns, rows);
    const pixels = new Uint32Array(image.data.buffer);
    const table = this.table;
    for (let at = 0; at < pixels.length; at++) {
      const grey = table[values[at]];
      pixels[at] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
    }
    this.grey.getContext("2d").putImageData(image, 0, 0);
    this.draw();
  }

  // layers: [{ labels (Uint8Array: 1 feature, 2 ignore), colour, dashed }], the last one on top. Colours are mixed here;
  // labels never go through the canvas.
  overlay(layers) {
    this.layers = layers;
    if (!this.slice) return;
    const { rows, columns } = this.slice;
    const image = new ImageData(columns, rows);
    const pixels = image.data;
    const inside = this.look.outlines ? 0 : Math.round(255 * this.look.opacity);
    const edge = this.look.outlines ? 255 : Math.min(255, inside + 70);
    for (const { labels, colour } of layers) {
      const [red, green, blue] = rgb(colour);
      for (let row = 0, at = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++, at++) {
          const label = labels[at];
          if (label === 0) continue;
          const border =
            row === 0 || column === 0 || row === rows - 1 || column === columns - 1 ||
            labels[at - 1] !== label || labels[at + 1] !== label || labels[at - columns] !== label || labels[at + columns] !== label;
          let alpha = border ? edge : inside;
          if (label === 2 && !border) alpha = ((row + column) >> 2) % 2 ? inside : inside >> 2;
          if (!alpha) continue;
          const to = at * 4;
          pixels[to] = red;
          pixels[to + 1] = green;
          pixels[to + 2] = blue;
          pixels[to + 3] = alpha;
        }
      }
    }
    this.tint.getContext("2d").putImageData(image, 0, 0);
    this.draw();
  }

  // -- places -----------------------------------------------------------------------------------------------

  get stepX() {
    return this.scale * (this.stretch?.x ?? 1);
  }

  get stepY() {
    return this.scale * (this.stretch?.y ?? 1);
  }

  // Where a pointer is on the slice.
  place(event) {
    const frame = this.canvas.getBoundingClientRect();
    return { row: (event.clientY - frame.top - this.top) / this.stepY, column: (event.clientX - frame.left - this.left) / this.stepX };
  }

  // Where a place of the slice is on the page.
  onPage(row, column) {
    const frame = this.canvas.getBoundingClientRect();
    return { x: frame.left + this.left + column * this.stepX, y: frame.top + this.top + row * this.stepY };
  }

  inside({ row, column }) {
    return this.slice !== null && row >= 0 && column >= 0 && row < this.slice.rows && column < this.slice.columns;
  }

  fit() {
    if (!this.slice) return;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const { x, y } = this.stretch;
    this.scale = Math.max(ZOOMS[0], Math.min(ZOOMS[1], 0.97 * Math.min(width / (this.slice.columns * x), height / (this.slice.rows * y))));
    this.left = (width - this.slice.columns * this.stepX) / 2;
    this.top = (height - this.slice.rows * this.stepY) / 2;
    this.fitted = true;
    this.onzoom();
    this.draw();
  }

  // The place under (x, y) of the canvas stays there.
  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const scale = Math.max(ZOOMS[0], Math.min(ZOOMS[1], this.scale * factor));
    const by = scale / this.scale;
    this.left = x - (x - this.left) * by;
    this.top = y - (y - this.top) * by;
    this.scale = scale;
    this.fitted = false;
    this.onzoom();
    this.draw();
  }

  pan(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.fitted = false;
    this.draw();
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(this.canvas.clientWidth * ratio);
    const height = Math.round(this.canvas.clientHeight * ratio);
    if (!width || !height) return;
    if (width !== this.canvas.width || height !== this.canvas.height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    if (this.fitted) this.fit();
    this.paint();
  }

  // -- drawing ----------------------------------------------------------------------------------------------

  draw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.paint();
    });
  }

  paint() {
    const context = this.context;
    const ratio = this.canvas.width / (this.canvas.clientWidth || 1);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.slice) return;
    context.setTransform(ratio * this.stepX, 0, 0, ratio * this.stepY, ratio * this.left, ratio * this.top);
    context.imageSmoothingEnabled = this.stepX * ratio < 1.5;
    context.drawImage(this.grey, 0, 0);
    context.imageSmoothingEnabled = this.stepX * ratio < 1;
    if (this.look.overlay) context.drawImage(this.tint, 0, 0);
    this.above(context, 1 / this.scale);
  }
}
