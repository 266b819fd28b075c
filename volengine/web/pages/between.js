// Slices between two drawn ones: a preview, which is taken or not.
import { framed } from "./server.js";

const $ = (id) => document.getElementById(id);

export class Between {
  // page: the slice and the feature in hand
  constructor(page) {
    this.page = page;
    this.preview = null;
    $("interpolate").addEventListener("click", () => page.bench.trying(() => this.begin()));
    $("confirm").addEventListener("click", () => page.bench.trying(() => this.confirm()));
    $("cancel").addEventListener("click", () => this.cancel());
  }

  // The labels of a slice in the preview.
  on(axis, index) {
    return this.preview?.axis === axis ? this.preview.planes.get(index) : undefined;
  }

  async begin() {
    if (!this.page.tomogram || !this.page.ready()) return;
    const { number, feature, axis, index } = this.page;
    const query = new URLSearchParams({ feature, axis, index });
    const { head, planes } = await framed(`api/tomograms/${number}/between?${query}`);
    if (number !== this.page.number || axis !== this.page.axis) return; // its user has gone elsewhere meanwhile
    const size = head.shape[0] * head.shape[1];
    const [first] = head.between;
    const by = new Map(Array.from({ length: head.count }, (_, at) => [first + 1 + at, planes.subarray(at * size, (at + 1) * size)]));
    this.preview = { feature, axis, between: head.between, planes: by };
    $("confirming").hidden = false;
    this.page.bench.say(`Cyan: ${feature} in slices ${first + 1} to ${head.between[1] - 1}. Enter takes it, Esc does not.`);
    if (!by.has(index)) await this.page.turnTo(axis, first + 1);
    else this.page.paintLabels();
  }

  async confirm() {
    if (!this.preview) return;
    const { feature, axis, between } = this.preview;
    this.cancel();
    await this.page.send({ op: "interpolate", feature, axis, between, only_empty: $("onlyEmpty").checked });
  }

  cancel() {
    $("confirming").hidden = true;
    if (!this.preview) return;
    this.preview = null;
    this.page.bench.say("");
    this.page.paintLabels();
  }
}
