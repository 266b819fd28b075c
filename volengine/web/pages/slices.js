// Slices as they come from the server: the one that is wanted last is shown, neighbours are fetched ahead.
import { bytes } from "./server.js";

const KEPT = 16;

export class Slices {
  constructor(onslice) {
    this.kept = new Map();
    this.onslice = onslice;
    this.wanted = null;
    this.direction = 1;
  }

  forget() {
    this.kept.clear();
    this.wanted = null;
  }

  // asked: { number, axis, index, count, mean, filter, sigma }
  async want(asked) {
    if (this.wanted && asked.axis === this.wanted.axis) this.direction = asked.index < this.wanted.index ? -1 : 1;
    this.wanted = asked;
    if (this.busy) return this.busy;
    this.busy = this.run();
    try {
      await this.busy;
    } finally {
      this.busy = null;
    }
    return undefined;
  }

  async run() {
    let shown = null;
    while (this.wanted !== shown && this.wanted) {
      const asked = this.wanted;
      const slice = await this.fetched(asked, "high");
      if (asked !== this.wanted) continue;
      await this.onslice(asked, slice);
      shown = asked;
    }
    if (shown) this.ahead(shown);
  }

  async ahead(asked) {
    for (const step of [this.direction, -this.direction, 2 * this.direction]) {
      const index = asked.index + step;
      if (this.wanted !== asked) return;
      if (index < 0 || index >= asked.count) continue;
      try {
        await this.fetched({ ...asked, index }, "low");
      } catch {
        return; // it is said when the slice is wanted
      }
    }
  }

  async fetched(asked, priority) {
    const { number, axis, index, mean, filter, sigma } = asked;
    const query = new URLSearchParams({ axis, index, mean, filter, sigma });
    const key = `${number} ${query}`;
    let slice = this.kept.get(key);
    if (!slice) {
      const { headers, data } = await bytes(`api/tomograms/${number}/slice?${query}`, { priority });
      slice = {
        values: new Uint16Array(data),
        rows: Number(headers.get("x-rows")),
        columns: Number(headers.get("x-columns")),
        low: Number(headers.get("x-low")),
        high: Number(headers.get("x-high")),
      };
    }
    this.kept.delete(key);
    this.kept.set(key, slice);
    while (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
    return slice;
  }
}
