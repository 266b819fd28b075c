// A slice of a tomogram with the picks of the table: added, moved and chosen with the mouse, or with keys.
import { get } from "./server.js";
import { SliceView } from "./slice_view.js";
import { Slices } from "./slices.js";

const $ = (id) => document.getElementById(id);
const AXES = "zyx";
const COLOURS = { 1: "#35c79b", 0: "#f0e442", "-1": "#ff7f3f" };

export class PickSlice {
  constructor(page) {
    this.page = page;
    this.axis = "z";
    this.picks = [];
    this.view = new SliceView($("pkCanvas"));
    this.view.look = { overlay: false };
    this.view.onzoom = () => (document.body.dataset.pickScale = String(this.view.scale));
    this.view.above = (context, pixel) => this.paint(context, pixel);
    this.slices = new Slices((asked, slice) => this.arrived(asked, slice));
    const canvas = $("pkCanvas");
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.over(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    for (const button of document.querySelectorAll("[data-pk-axis]")) button.addEventListener("click", () => this.along(button.dataset.pkAxis));
    $("pkIndex").addEventListener("input", () => this.go(Number($("pkIndex").value)));
    $("pkFit").addEventListener("click", () => this.view.fit());
    $("pkAdding").addEventListener("click", () => this.adding(!this.adds));
  }

  // -- tomogram and slice -----------------------------------------------------------------------------------

  async show(number, place) {
    if (number !== this.number) {
      const tomogram = await get(`api/tomograms/${number}`);
      this.number = number;
      this.tomogram = tomogram;
      this.slices.forget();
      this.view.clear();
      this.index = Math.floor(tomogram.shape[AXES.indexOf(this.axis)] / 2);
    }
    await this.refresh();
    if (place) this.index = Math.round(place[AXES.indexOf(this.axis)]);
    await this.want();
  }

  // Where the picks are now.
  async refresh() {
    if (this.number === undefined || !this.page.path) return;
    const found = await get(`${this.page.path}/places?tomogram=${this.number}`);
    this.picks = found.ids.map((id, at) => ({ id, place: found.places[at], accepted: found.accepted[at] }));
    if (!this.picks.some((one) => one.id === this.chosen)) this.chosen = null;
    this.view.draw();
    this.tell();
    document.body.dataset.places = `${found.version}:${this.picks.length}`;
  }

  get count() {
    return this.tomogram.shape[AXES.indexOf(this.axis)];
  }

  async want() {
    this.index = Math.max(0, Math.min(this.count - 1, this.index));
    $("pkIndex").max = this.count - 1;
    $("pkIndex").value = this.index;
    $("pkIndexSaid").textContent = `${this.index} / ${this.count - 1}`;
    const mean = this.page.looks().mean;
    await this.slices.want({ number: this.number, axis: this.axis, index: this.index, count: this.count, mean, filter: "none", sigma: 1 });
  }

  arrived(asked, slice) {
    if (asked !== this.slices.wanted || asked.number !== this.number) return;
    const [y, x] = this.tomogram.voxel_size.filter((_, at) => AXES[at] !== asked.axis);
    const least = Math.min(y, x);
    this.view.show(slice, { y: y / least, x: x / least });
    this.view.window(...this.tomogram.contrast, false);
    this.tell();
    document.body.dataset.pickSlice = `${asked.axis}=${asked.index}`;
  }

  go(index) {
    if (!this.tomogram) return;
    this.index = index;
    this.page.bench.trying(() => this.want());
  }

  along(axis) {
    if (!this.tomogram) return;
    this.axis = axis;
    for (const button of document.querySelectorAll("[data-pk-axis]")) button.setAttribute("aria-pressed", String(button.dataset.pkAxis === axis));
    const pick = this.picks.find((one) => one.id === this.chosen);
    const at = AXES.indexOf(axis);
    this.go(pick ? Math.round(pick.place[at]) : Math.floor(this.tomogram.shape[at] / 2));
  }

  adding(on) {
    this.adds = on;
    $("pkAdding").setAttribute("aria-pressed", String(on));
    $("pkCanvas").classList.toggle("adding", on);
  }

  tell() {
    if (!this.tomogram) return;
    const pick = this.picks.find((one) => one.id === this.chosen);
    const of = pick ? ` · pick ${pick.id} at z ${pick.place[0]} · y ${pick.place[1]} · x ${pick.place[2]}` : "";
    $("pkAt").textContent = `${this.tomogram.name} · ${this.axis} ${this.index}${of}`;
  }

  // -- picks on the slice -----------------------------------------------------------------------------------

  get across() {
    return AXES.indexOf(this.axis);
  }

  get radius() {
    return this.page.radius() / Math.min(...this.tomogram.voxel_size); // in voxels of the shortest side
  }

  // The middle of a pick on the slice, and the part of its ball there; null if it does not reach it.
  on({ id, place }) {
    const moved = this.drag?.moved && this.drag.id === id ? this.drag.place : place;
    const scale = this.tomogram.voxel_size[this.across] / Math.min(...this.tomogram.voxel_size);
    const away = Math.abs(moved[this.across] - this.index) * scale;
    if (away > Math.max(this.radius, 0.5)) return null;
    const [row, column] = moved.filter((_, at) => at !== this.across);
    return { row: row + 0.5, column: column + 0.5, radius: Math.sqrt(Math.max(0, this.radius ** 2 - away ** 2)), centre: away <= 0.5 };
  }

  under(place) {
    let best = null;
    for (const pick of this.picks) {
      const at = this.on(pick);
      if (!at) continue;
      const away = Math.hypot(at.row - place.row, at.column - place.column);
      if (away <= Math.max(at.radius, 8 / this.view.scale) && (!best || away < best.away)) best = { away, pick };
    }
    return best?.pick ?? null;
  }

  // A place of the slice in the tomogram, z, y, x; voxel centres are whole numbers.
  at({ row, column }) {
    const place = [row - 0.5, column - 0.5].map((value) => Math.round(100 * value) / 100);
    place.splice(this.across, 0, this.index);
    return place;
  }

  paint(context, pixel) {
    if (!this.tomogram) return;
    for (const pick of this.picks) {
      const at = this.on(pick);
      if (!at) continue;
      const chosen = pick.id === this.chosen;
      const size = Math.max(at.radius, 3 * pixel);
      for (const [colour, width] of [["#000b", 4], [chosen ? "#ffffff" : COLOURS[pick.accepted], chosen ? 3 : 2]]) {
        context.strokeStyle = context.fillStyle = colour;
        context.lineWidth = width * pixel;
        context.setLineDash(pick.accepted < 0 ? [5 * pixel, 4 * pixel] : []);
        context.beginPath();
        context.ellipse(at.column, at.row, size, size, 0, 0, 2 * Math.PI);
        context.stroke();
        if (!at.centre) continue;
        context.beginPath();
        context.ellipse(at.column, at.row, (width + 0.5) * pixel, (width + 0.5) * pixel, 0, 0, 2 * Math.PI);
        context.fill();
      }
    }
    context.setLineDash([]);
  }

  // -- pointer and keys -------------------------------------------------------------------------------------

  down(event) {
    if (!this.view.slice) return;
    $("pkCanvas").focus();
    $("pkCanvas").setPointerCapture(event.pointerId);
    const place = this.view.place(event);
    if (event.button === 1) {
      this.drag = { pan: [event.clientX, event.clientY] };
      event.preventDefault();
      return;
    }
    if (event.button !== 0) return;
    const pick = this.under(place);
    this.choose(pick?.id ?? null);
    if (pick) this.drag = { id: pick.id, from: place, old: pick.place, place: pick.place, moved: false };
    else if (this.adds && this.view.inside(place)) this.page.send({ op: "add", number: this.number, position: this.at(place) });
  }

  over(event) {
    if (!this.drag) return;
    if (this.drag.pan) {
      this.view.pan(event.clientX - this.drag.pan[0], event.clientY - this.drag.pan[1]);
      this.drag.pan = [event.clientX, event.clientY];
      return;
    }
    const place = this.view.place(event);
    const by = [place.row - this.drag.from.row, place.column - this.drag.from.column];
    if (!this.drag.moved && Math.hypot(...by) * this.view.scale < 4) return; // a click, by a hand that trembles
    this.drag.moved = true;
    by.splice(this.across, 0, 0);
    this.drag.place = this.drag.old.map((value, at) => Math.round(100 * (value + by[at])) / 100);
    this.view.draw();
  }

  up() {
    const { drag } = this;
    if (drag?.moved) {
      const pick = this.picks.find((one) => one.id === drag.id);
      if (pick) pick.place = drag.place; // until the server has answered
      this.page.send({ op: "move", id: drag.id, number: this.number, position: drag.place });
    }
    this.drag = null;
  }

  wheel(event) {
    event.preventDefault();
    if (!this.view.slice) return;
    const frame = $("pkCanvas").getBoundingClientRect();
    if (event.ctrlKey) this.view.zoom(event.deltaY < 0 ? 1.25 : 0.8, event.clientX - frame.left, event.clientY - frame.top);
    else this.go(this.index + Math.sign(event.deltaY));
  }

  choose(id) {
    this.chosen = id;
    this.view.draw();
    this.tell();
    this.page.told();
  }

  // The next pick of the tomogram, on its slice.
  next(step) {
    if (!this.picks.length) return;
    const order = [...this.picks].sort((a, b) => a.place[this.across] - b.place[this.across] || a.id - b.id);
    const now = order.findIndex((one) => one.id === this.chosen);
    const to = order[now < 0 ? 0 : (now + step + order.length) % order.length];
    this.choose(to.id);
    this.go(Math.round(to.place[this.across]));
  }

  // The chosen pick by some voxels, without a mouse.
  nudge(key, step) {
    const pick = this.picks.find((one) => one.id === this.chosen);
    if (!pick) return;
    const by = { ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step] }[key] ?? [0, 0];
    by.splice(this.across, 0, key === "PageUp" ? -step : key === "PageDown" ? step : 0);
    pick.place = pick.place.map((value, at) => value + by[at]);
    if (/Page/.test(key)) this.go(Math.round(pick.place[this.across]));
    this.view.draw();
    this.page.send({ op: "move", id: pick.id, number: this.number, position: pick.place });
  }

  // A pick in the middle of what is seen, without a mouse.
  addMiddle() {
    const { canvas, slice } = this.view;
    if (!slice) return;
    const place = { row: (canvas.clientHeight / 2 - this.view.top) / this.view.stepY, column: (canvas.clientWidth / 2 - this.view.left) / this.view.stepX };
    if (this.view.inside(place)) this.page.send({ op: "add", number: this.number, position: this.at(place) });
  }
}
