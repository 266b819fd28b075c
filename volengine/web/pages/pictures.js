// Slices as pictures that the server draws: for browsers without WebGL2.
import { address, get } from "./server.js";

const AXES = "zyx";

export class Pictures {
  constructor(elements) {
    this.elements = elements;
    this.invert = false;
    this.layers = [];
    elements.axis.addEventListener("change", () => this.turn());
    elements.index.addEventListener("input", () => this.draw());
    elements.picture.addEventListener("load", () => this.next());
    elements.picture.addEventListener("error", async () => {
      this.next();
      const said = await get(elements.picture.src).then(() => null, (error) => error.message);
      if (said) elements.why.textContent = `This slice could not be drawn: ${said}`;
    });
  }

  show(number, scene, why) {
    this.number = number;
    this.shape = scene.shape;
    this.elements.plain.hidden = false;
    this.elements.why.textContent = scene.pictures ? why : "There is no tomogram here, so there are no pictures.";
    this.turn();
  }

  turn() {
    const size = this.shape[AXES.indexOf(this.elements.axis.value)];
    this.elements.index.max = size - 1;
    this.elements.index.value = Math.floor(size / 2);
    this.draw();
  }

  // One picture at a time: the slider asks for many, and only the last one counts.
  draw() {
    const { axis, index, at } = this.elements;
    at.textContent = `${axis.value} = ${index.value}`;
    const query = new URLSearchParams({ axis: axis.value, index: index.value, invert: this.invert ? "1" : "0" });
    for (const key of this.layers) query.append("layer", key);
    this.wanted = address(`api/tomograms/${this.number}/picture?${query}`);
    if (!this.busy) this.next();
  }

  next() {
    const { picture, at } = this.elements;
    this.busy = this.wanted !== undefined;
    if (!this.busy) return;
    picture.alt = `Slice ${at.textContent}`;
    picture.src = this.wanted;
    this.wanted = undefined;
  }
}
