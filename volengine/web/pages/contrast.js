// The grey values that are black and white; those of gradients are kept apart from those of the tomogram.

const STEPS = 1000;
const $ = (id) => document.getElementById(id);

export function short(value) {
  if (value === 0 || (Math.abs(value) >= 0.01 && Math.abs(value) < 1e5)) return Number(value.toPrecision(4)).toString();
  return value.toExponential(2);
}

export class Contrast {
  constructor(view) {
    this.view = view;
    this.forget([0, 1]);
    for (const id of ["black", "white"]) $(id).addEventListener("input", () => this.slide());
    $("auto").addEventListener("click", () => this.auto());
    $("invert").addEventListener("click", () => this.invert());
    $("original").addEventListener("click", () => this.reset());
  }

  // first: black and white of another tomogram
  forget(first) {
    this.first = first;
    this.windows = {};
  }

  // filter: that of the slice in view
  apply(filter = this.filter) {
    this.filter = filter;
    const { low, high } = this.view.slice;
    const [black, white] = this.windows[this.kind] ?? this.beginning();
    const place = (value) => Math.round((STEPS * (value - low)) / (high - low));
    $("black").value = place(black);
    $("white").value = place(white);
    $("blackSaid").textContent = short(black);
    $("whiteSaid").textContent = short(white);
    this.view.window(black, white, $("invert").getAttribute("aria-pressed") === "true");
  }

  get kind() {
    return this.filter === "sobel" ? "sobel" : "plain";
  }

  beginning() {
    return this.kind === "sobel" ? [0, 0.5 * this.view.slice.high] : this.first;
  }

  set(black, white) {
    this.windows[this.kind] = [black, white];
    this.apply();
  }

  reset() {
    if (this.view.slice) this.set(...this.beginning());
  }

  slide() {
    if (!this.view.slice) return;
    const { low, high } = this.view.slice;
    const at = (id) => low + ((high - low) * Number($(id).value)) / STEPS;
    this.set(at("black"), at("white"));
  }

  auto() {
    if (!this.view.slice) return;
    const { values, low, high } = this.view.slice;
    const counts = new Uint32Array(65536);
    for (const value of values) counts[value]++;
    const quantile = (part) => {
      let left = part * values.length;
      for (let value = 0; value < counts.length; value++) if ((left -= counts[value]) <= 0) return low + ((high - low) * value) / 65535;
      return high;
    };
    this.set(quantile(0.005), quantile(0.995));
  }

  invert() {
    const button = $("invert");
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    if (this.view.slice) this.apply();
  }
}
