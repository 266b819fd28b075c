// Annotating: one tomogram, one slice. What is drawn is sent as an operation of the annotations, one after the other; the
// labels on the screen are always those that the server has answered.
import { Keys } from "./keys.js";
import { get, post, framed } from "./server.js";
import { SliceView } from "./slice_view.js";
import { Slices } from "./slices.js";
import { TOOLS, Tools } from "./tools.js";

const $ = (id) => document.getElementById(id);
const AXES = "zyx";
const POLL_MS = 1500;
const STEPS = 1000;
const NEAR = 2; // slices at which a point without radius is seen

function made(tag, text = "", more = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  return Object.assign(element, more);
}

function short(value) {
  if (value === 0 || (Math.abs(value) >= 0.01 && Math.abs(value) < 1e5)) return Number(value.toPrecision(4)).toString();
  return value.toExponential(2);
}

export class Annotate {
  constructor(bench) {
    this.bench = bench;
    this.axis = "z";
    this.places = {};
    this.hidden = new Set();
    this.state = { version: 0, features: [], boxes: [], points: [], undo: false, redo: false };
    this.queue = Promise.resolve();
    this.waiting = 0;
    this.windows = {};
    this.preview = null;
    this.view = new SliceView($("canvas"));
    this.view.onzoom = () => ($("zoom").textContent = `${Math.round(100 * this.view.scale)} %`);
    this.tools = new Tools(this.view, this);
    this.slices = new Slices((asked, slice) => this.arrived(asked, slice));
    this.connect();
    this.keys();
    this.poll();
  }

  // -- tomogram and slice -----------------------------------------------------------------------------------

  async show(number) {
    if (number === this.number && this.tomogram) return this.refresh();
    this.bench.say(`Opening ${this.bench.facts.tomograms[number]} …`);
    this.cancel();
    this.tomogram = null;
    this.number = number;
    this.slices.forget();
    this.view.clear();
    this.labels = null;
    const tomogram = await get(`api/tomograms/${number}`);
    if (number !== this.number) return undefined;
    this.tomogram = tomogram;
    const { name, shape, voxel_size: size, predictions, notes } = tomogram;
    document.title = `${name} - volengine`;
    $("name").textContent = name;
    $("shape").textContent = `${shape.join(" × ")} voxels of ${short(size[2])} Å`;
    $("notes").replaceChildren(...notes.map((note) => made("li", note)));
    $("said").hidden = !notes.length;
    $("taking").hidden = !predictions.length;
    $("prediction").replaceChildren(made("option", "none", { value: "" }), ...predictions.map((one) => made("option", one.name, { value: one.key })));
    this.places = {};
    this.windows = {};
    this.hidden.clear();
    this.state = { version: 0, features: [], boxes: [], points: [], undo: false, redo: false };
    await this.readState();
    await this.turnTo(this.axis, Math.floor(shape[AXES.indexOf(this.axis)] / 2));
    this.view.fit();
    this.bench.say("");
    document.body.dataset.shown = name;
    return undefined;
  }

  neighbour(step) {
    const count = this.bench.facts.tomograms.length;
    this.bench.show((this.number + step + count) % count);
  }

  get count() {
    return this.tomogram.shape[AXES.indexOf(this.axis)];
  }

  turn(step) {
    if (this.tomogram) this.bench.trying(() => this.turnTo(this.axis, this.index + step));
  }

  turnTo(axis, index) {
    if (axis !== this.axis) {
      this.tools.cancel();
      this.cancel();
    }
    this.places[this.axis] = this.index;
    this.axis = axis;
    this.index = Math.max(0, Math.min(this.count - 1, index));
    for (const button of document.querySelectorAll("[data-axis]")) button.setAttribute("aria-pressed", String(button.dataset.axis === axis));
    $("index").max = this.count - 1;
    $("index").value = this.index;
    $("indexSaid").textContent = `${this.index} / ${this.count - 1}`;
    return this.want();
  }

  want() {
    const { number, axis, index, count } = this;
    const asked = { number, axis, index, count, mean: Number($("mean").value), filter: $("filter").value, sigma: Number($("sigma").value) };
    return this.slices.want(asked);
  }

  // A slice with its labels; both are of the slice that is wanted, or another one is on its way.
  async arrived(asked, slice) {
    const [labels, predicted] = await Promise.all([this.readLabels(asked), this.readPredicted(asked)]);
    if (asked !== this.slices.wanted || asked.number !== this.number) return;
    this.labels = labels;
    this.predicted = predicted;
    this.filter = asked.filter;
    const [y, x] = this.tomogram.voxel_size.filter((_, at) => AXES[at] !== asked.axis);
    const least = Math.min(y, x);
    this.view.show(slice, { y: y / least, x: x / least });
    this.applyWindow();
    this.paintLabels();
    this.tell(this.tools.at);
    document.body.dataset.slice = `${asked.axis}=${asked.index}`;
    document.body.dataset.version = String(labels.head.version);
  }

  // -- contrast ---------------------------------------------------------------------------------------------

  applyWindow() {
    const { low, high } = this.view.slice;
    const kind = this.filter === "sobel" ? "sobel" : "plain";
    const [black, white] = (this.windows[kind] ??= kind === "plain" ? [...this.tomogram.contrast] : [low, low + 0.6 * (high - low)]);
    const place = (value) => Math.round((STEPS * (value - low)) / (high - low));
    $("black").value = place(black);
    $("white").value = place(white);
    $("blackSaid").textContent = short(black);
    $("whiteSaid").textContent = short(white);
    this.view.window(black, white, $("invert").getAttribute("aria-pressed") === "true");
  }

  setWindow(black, white) {
    this.windows[this.filter === "sobel" ? "sobel" : "plain"] = [black, white];
    this.applyWindow();
  }

  slide() {
    if (!this.view.slice) return;
    const { low, high } = this.view.slice;
    const at = (id) => low + ((high - low) * Number($(id).value)) / STEPS;
    this.setWindow(at("black"), at("white"));
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
    this.setWindow(quantile(0.005), quantile(0.995));
  }

  invert() {
    const button = $("invert");
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    if (this.view.slice) this.applyWindow();
  }

  // -- what is annotated ------------------------------------------------------------------------------------

  async readLabels({ number, axis, index }) {
    const { head, planes } = await framed(`api/tomograms/${number}/labels?axis=${axis}&index=${index}`);
    const size = head.shape[0] * head.shape[1];
    const by = new Map(head.features.map((name, at) => [name, planes.subarray(at * size, (at + 1) * size)]));
    return { head, by };
  }

  async readState() {
    const number = this.number;
    const state = await get(`api/tomograms/${number}/annotations?user=${encodeURIComponent(this.bench.user())}`);
    if (number !== this.number) return;
    this.state = state;
    if (!state.features.some((one) => one.name === this.feature)) this.feature = state.features[0]?.name;
    this.listFeatures();
    $("undo").disabled = !state.undo;
    $("redo").disabled = !state.redo;
  }

  // The latest state and the labels of the slice that is shown.
  async refresh() {
    if (!this.tomogram) return;
    await this.readState();
    const shown = { number: this.number, axis: this.axis, index: this.index };
    const labels = await this.readLabels(shown);
    if (shown.number !== this.number || shown.axis !== this.axis || shown.index !== this.index || this.slices.busy) return;
    this.labels = labels;
    this.paintLabels();
    document.body.dataset.version = String(labels.head.version);
  }

  // What others draw is seen within two seconds.
  async poll() {
    const next = () => setTimeout(() => this.poll(), POLL_MS);
    if (this.bench.section !== "annotate" || document.hidden || !this.tomogram || this.waiting) return next();
    try {
      const { version } = await get(`api/tomograms/${this.number}/version`);
      if (this.lost) this.bench.say("");
      this.lost = false;
      if (version !== this.state.version && !this.waiting) await this.refresh();
    } catch (error) {
      this.lost = true;
      this.bench.say(error.message, true);
    }
    return next();
  }

  // Operations go one after the other; settled is called when the screen shows the answer, or the refusal.
  send(operation, settled = () => {}) {
    const { number } = this;
    const user = this.bench.user();
    this.waiting += 1;
    document.body.dataset.waiting = String(this.waiting);
    const began = performance.now();
    const work = async () => {
      try {
        await post(`api/tomograms/${number}/operations`, { operation, user });
        if (number === this.number) await this.refresh();
        this.latency = performance.now() - began;
        if (document.body.dataset.state === "wrong") this.bench.say("");
      } catch (error) {
        this.bench.say(error.message, true);
      } finally {
        this.waiting -= 1;
        document.body.dataset.waiting = String(this.waiting);
        settled();
      }
    };
    this.queue = this.queue.then(work);
    return this.queue;
  }

  // -- features ---------------------------------------------------------------------------------------------

  ready() {
    if (this.feature) return true;
    this.bench.say("Add a feature first: what is it that you draw?", true);
    $("newFeature").focus();
    return false;
  }

  colour() {
    return this.state.features.find((one) => one.name === this.feature)?.colour ?? "#ffffff";
  }

  listFeatures() {
    $("features").setAttribute("role", "radiogroup");
    $("features").replaceChildren(
      ...this.state.features.map(({ name, colour }, at) => {
        const pick = made("button", "", { type: "button", className: "pickable" });
        pick.setAttribute("role", "radio");
        pick.setAttribute("aria-checked", String(name === this.feature));
        const dot = made("span", "", { className: "dot" });
        dot.style.backgroundColor = colour;
        pick.append(dot, made("span", name));
        if (at < 9) pick.append(made("kbd", String(at + 1)));
        pick.addEventListener("click", () => this.choose(name));
        const shown = !this.hidden.has(name);
        const eye = made("button", shown ? "◉" : "○", { type: "button", className: "eye", title: `Show or hide ${name}` });
        eye.setAttribute("aria-pressed", String(shown));
        eye.addEventListener("click", () => this.toggle(name));
        const item = made("li");
        item.append(pick, eye);
        return item;
      }),
    );
    $("empty").textContent = "";
    const drawn = this.drawn();
    $("drawnOn").textContent = this.feature ? `${this.feature}: drawn on ${drawn.length} slices along ${this.axis}` : "Add a feature to begin.";
    $("drawnBefore").disabled = $("drawnAfter").disabled = !drawn.length;
  }

  choose(name) {
    this.feature = name;
    this.cancel();
    this.listFeatures();
    this.paintLabels();
  }

  toggle(name) {
    if (!name) return;
    if (!this.hidden.delete(name)) this.hidden.add(name);
    this.listFeatures();
    this.paintLabels();
  }

  step(by) {
    const names = this.state.features.map((one) => one.name);
    if (names.length) this.choose(names[(names.indexOf(this.feature) + by + names.length) % names.length]);
  }

  async addFeature() {
    const name = $("newFeature").value.trim();
    if (!name) return;
    if (!this.state.features.some((one) => one.name === name)) await this.send({ op: "feature", feature: name });
    if (this.state.features.some((one) => one.name === name)) {
      $("newFeature").value = "";
      this.choose(name);
      $("canvas").focus();
    }
  }

  drawn() {
    return this.state.features.find((one) => one.name === this.feature)?.slices[this.axis] ?? [];
  }

  jump(step) {
    const drawn = this.drawn();
    const to = step > 0 ? drawn.find((one) => one > this.index) : drawn.findLast((one) => one < this.index);
    if (to !== undefined) this.bench.trying(() => this.turnTo(this.axis, to));
  }

  // -- what tools ask ---------------------------------------------------------------------------------------

  slice() {
    return { feature: this.feature, axis: this.axis, slice: this.index };
  }

  radius() {
    return Number($("size").value) / 2;
  }

  side() {
    return Number($("side").value);
  }

  value(erases) {
    const value = erases ? "background" : $("ignore").checked ? "ignore" : "feature";
    return { value, only_empty: !erases && $("onlyEmpty").checked };
  }

  fill() {
    const smooth = $("filter").value === "gaussian" ? Number($("sigma").value) : 0;
    return { band: Number($("band").value), smooth_vox: smooth };
  }

  resize(step) {
    const size = $("size");
    size.value = Number(size.value) + step * Math.max(1, Math.round(Number(size.value) / 10));
    this.sizes();
    this.view.draw();
  }

  sizes() {
    $("sizeSaid").textContent = `${$("size").value} vox`;
    $("bandSaid").textContent = `${$("band").value} σ`;
    $("sideSaid").textContent = `${$("side").value} vox`;
    $("bandLine").hidden = this.tools.tool !== "fill";
    $("sideLine").hidden = this.tools.tool !== "box";
  }

  tell(place) {
    if (!this.tomogram) return;
    const [row, column] = place ? [Math.floor(place.row), Math.floor(place.column)] : [0, 0];
    if (!place || !this.view.inside(place)) {
      $("at").textContent = `${this.axis} ${this.index}`;
      return;
    }
    const { values, columns, low, high } = this.view.slice;
    const at = row * columns + column;
    const axes = [...AXES].filter((axis) => axis !== this.axis);
    const under = [...(this.labels?.by ?? [])].filter(([, plane]) => plane[at]).map(([name, plane]) => (plane[at] === 2 ? `${name} (ignore)` : name));
    const value = short(low + ((high - low) * values[at]) / 65535);
    $("at").textContent = [`${this.axis} ${this.index}`, `${axes[0]} ${row}`, `${axes[1]} ${column}`, value, ...under].join(" · ");
  }

  // -- boxes and points -------------------------------------------------------------------------------------

  // The rows and columns of a box on the slice; null if it is elsewhere.
  onSlice({ box }) {
    const across = AXES.indexOf(this.axis);
    if (this.index < box[across] || this.index >= box[across + 3]) return null;
    const [row, column] = [0, 1, 2].filter((axis) => axis !== across);
    return { top: box[row], left: box[column], bottom: box[row + 3], right: box[column + 3] };
  }

  addBox(from, to) {
    const { rows, columns } = this.view.slice;
    const side = this.side();
    const ends = (a, b, size) => {
      if (to) return [Math.max(0, Math.floor(Math.min(a, b))), Math.min(size, Math.ceil(Math.max(a, b)))];
      const length = Math.min(side, size);
      const start = Math.min(Math.max(0, Math.floor(a) - Math.floor(side / 2)), size - length);
      return [start, start + length];
    };
    const parts = [ends(from.row, to?.row, rows), ends(from.column, to?.column, columns)];
    if (parts.some(([start, stop]) => stop <= start)) return;
    this.sendBox(parts);
  }

  sendBox(parts) {
    const all = [...parts];
    all.splice(AXES.indexOf(this.axis), 0, [this.index, this.index + 1]);
    this.send({ op: "box", feature: this.feature, box: all.map(([start, stop]) => `${start}:${stop}`).join(",") });
  }

  wholeSlice() {
    if (this.view.slice && this.ready()) this.sendBox([[0, this.view.slice.rows], [0, this.view.slice.columns]]);
  }

  removeBox({ row, column }) {
    const under = this.state.boxes.filter((one) => {
      const at = one.feature === this.feature && this.onSlice(one);
      return at && row >= at.top && row < at.bottom && column >= at.left && column < at.right;
    });
    if (under.length) this.send({ op: "remove", item: under[under.length - 1].item });
    else this.bench.say("There is no box of this feature here.", true);
  }

  // Where a point is on the slice, and the radius of its ball there; null if it does not reach it.
  pointAt({ position, radius }) {
    const across = AXES.indexOf(this.axis);
    const away = Math.abs(position[across] - this.index);
    const reach = radius ?? NEAR;
    if (away > Math.max(reach, 0.5)) return null;
    const [row, column] = position.filter((_, axis) => axis !== across);
    return { row: row + 0.5, column: column + 0.5, radius: Math.sqrt(Math.max(0, reach * reach - away * away)), centre: away <= 0.5 };
  }

  addPoint({ row, column }) {
    const position = [Math.floor(row), Math.floor(column)];
    position.splice(AXES.indexOf(this.axis), 0, this.index);
    this.send({ op: "point", feature: this.feature, position, radius: this.radius() });
  }

  removePoint({ row, column }) {
    let best = null;
    for (const one of this.state.points) {
      const at = one.feature === this.feature && this.pointAt(one);
      if (!at) continue;
      const away = Math.hypot(at.row - row, at.column - column);
      if (away <= Math.max(at.radius, 8 / this.view.scale) && (!best || away < best.away)) best = { away, item: one.item };
    }
    if (best) this.send({ op: "remove", item: best.item });
    else this.bench.say("There is no point of this feature here.", true);
  }

  remove() {
    if (!this.tools.at) return;
    if (this.tools.tool === "box") this.removeBox(this.tools.at);
    else if (this.tools.tool === "point") this.removePoint(this.tools.at);
  }

  // Boxes and points, under what is being drawn.
  paint(context, pixel) {
    if (!this.tomogram || !this.view.look.overlay) return;
    const colours = new Map(this.state.features.map((one) => [one.name, one.colour]));
    for (const one of this.state.boxes) {
      const at = !this.hidden.has(one.feature) && this.onSlice(one);
      if (!at) continue;
      for (const [colour, width, dash] of [["#000a", 4, []], [colours.get(one.feature) ?? "#fff", 2, [7 * pixel, 4 * pixel]]]) {
        context.strokeStyle = colour;
        context.lineWidth = width * pixel;
        context.setLineDash(dash);
        context.strokeRect(at.left, at.top, at.right - at.left, at.bottom - at.top);
      }
      context.setLineDash([]);
    }
    for (const one of this.state.points) {
      const at = !this.hidden.has(one.feature) && this.pointAt(one);
      if (!at) continue;
      for (const [colour, width] of [["#000a", 4], [colours.get(one.feature) ?? "#fff", 2]]) {
        context.strokeStyle = colour;
        context.lineWidth = width * pixel;
        context.beginPath();
        context.ellipse(at.column, at.row, Math.max(at.radius, 2 * pixel), Math.max(at.radius, 2 * pixel), 0, 0, 2 * Math.PI);
        context.stroke();
        if (at.centre) {
          context.fillStyle = colour;
          context.beginPath();
          context.ellipse(at.column, at.row, (width + 1) * pixel, (width + 1) * pixel, 0, 0, 2 * Math.PI);
          context.fill();
        }
      }
    }
  }

  paintLabels() {
    if (!this.view.slice || !this.labels) return;
    const names = this.state.features.filter((one) => !this.hidden.has(one.name));
    names.sort((a, b) => (a.name === this.feature) - (b.name === this.feature)); // the one in hand on top
    const layers = names.filter((one) => this.labels.by.has(one.name)).map((one) => ({ labels: this.labels.by.get(one.name), colour: one.colour }));
    if (this.predicted) {
      const above = Math.round(65535 * Number($("above").value));
      const found = new Uint8Array(this.predicted.length);
      for (let at = 0; at < found.length; at++) found[at] = this.predicted[at] > above ? 1 : 0;
      layers.unshift({ labels: found, colour: "#ffffff" });
    }
    const preview = this.preview && this.preview.axis === this.axis ? this.preview.planes.get(this.index) : undefined;
    if (preview) layers.push({ labels: preview, colour: "#ffffff" });
    this.view.overlay(layers);
  }

  // -- between slices ---------------------------------------------------------------------------------------

  async interpolate() {
    if (!this.tomogram || !this.ready()) return;
    const { number, feature, axis, index } = this;
    const query = new URLSearchParams({ feature, axis, index });
    const { head, planes } = await framed(`api/tomograms/${number}/between?${query}`);
    const size = head.shape[0] * head.shape[1];
    const [first] = head.between;
    const by = new Map(Array.from({ length: head.count }, (_, at) => [first + 1 + at, planes.subarray(at * size, (at + 1) * size)]));
    this.preview = { feature, axis, between: head.between, planes: by };
    $("confirming").hidden = false;
    this.bench.say(`White: ${feature} in slices ${first + 1} to ${head.between[1] - 1}. Enter takes it, Esc does not.`);
    if (!by.has(index)) await this.turnTo(axis, first + 1);
    else this.paintLabels();
  }

  async confirm() {
    if (!this.preview) return;
    const { feature, axis, between } = this.preview;
    this.cancel();
    await this.send({ op: "interpolate", feature, axis, between, only_empty: $("onlyEmpty").checked });
  }

  cancel() {
    $("confirming").hidden = true;
    if (!this.preview) return;
    this.preview = null;
    this.bench.say("");
    this.paintLabels();
  }

  // -- predictions ------------------------------------------------------------------------------------------

  async readPredicted({ number, axis, index }) {
    const key = $("prediction").value;
    if (!key) return null;
    const query = new URLSearchParams({ axis, index, prediction: key });
    const answer = await fetch(new URL(`api/tomograms/${number}/slice?${query}`, document.baseURI));
    if (!answer.ok) throw new Error((await answer.json()).error);
    return new Uint16Array(await answer.arrayBuffer());
  }

  async showPredicted() {
    this.predicted = await this.readPredicted(this);
    this.paintLabels();
  }

  take(all) {
    const prediction = $("prediction").value;
    if (!prediction) return this.bench.say("Choose a prediction first.", true);
    if (!this.ready()) return undefined;
    const parts = [":", ":", ":"];
    if (!all) parts[AXES.indexOf(this.axis)] = `${this.index}:${this.index + 1}`;
    const operation = { op: "take", feature: this.feature, prediction, above: Number($("above").value), box: parts.join(","), replace: $("replace").checked };
    return this.send({ ...operation, ...this.value(false) });
  }

  // -- controls ---------------------------------------------------------------------------------------------

  connect() {
    const trying = (what) => () => this.bench.trying(what);
    const on = (id, event, act) => $(id).addEventListener(event, act);
    for (const { id, title, key } of TOOLS) {
      const button = made("button", title, { type: "button", id: `tool-${id}` });
      button.setAttribute("role", "radio");
      button.append(made("kbd", key));
      button.addEventListener("click", () => this.tool(id));
      $("tools").append(button);
    }
    for (const button of document.querySelectorAll("[data-axis]")) button.addEventListener("click", () => this.along(button.dataset.axis));
    on("before", "click", () => this.neighbour(-1));
    on("after", "click", () => this.neighbour(1));
    on("index", "input", () => this.tomogram && this.bench.trying(() => this.turnTo(this.axis, Number($("index").value))));
    on("smaller", "click", () => this.view.zoom(1 / 1.25));
    on("larger", "click", () => this.view.zoom(1.25));
    on("fit", "click", () => this.view.fit());
    for (const id of ["black", "white"]) on(id, "input", () => this.slide());
    on("auto", "click", () => this.auto());
    on("invert", "click", () => this.invert());
    on("original", "click", () => this.view.slice && this.setWindow(...(this.filter === "sobel" ? [0, 0.6 * this.view.slice.high] : this.tomogram.contrast)));
    for (const id of ["filter", "sigma", "mean"]) {
      on(id, "input", () => {
        this.eyeSaid();
        if (this.tomogram) this.bench.trying(() => this.want());
      });
    }
    for (const id of ["size", "band", "side"]) on(id, "input", () => this.sizes());
    on("opacity", "input", () => this.looks());
    on("overlay", "change", () => this.looks());
    on("outlines", "change", () => this.looks());
    on("undo", "click", () => this.send({ op: "undo" }));
    on("redo", "click", () => this.send({ op: "redo" }));
    on("addFeature", "submit", (event) => {
      event.preventDefault();
      this.bench.trying(() => this.addFeature());
    });
    on("drawnBefore", "click", () => this.jump(-1));
    on("drawnAfter", "click", () => this.jump(1));
    on("interpolate", "click", trying(() => this.interpolate()));
    on("confirm", "click", trying(() => this.confirm()));
    on("cancel", "click", () => this.cancel());
    on("prediction", "change", trying(() => this.showPredicted()));
    on("above", "input", () => {
      this.aboveSaid();
      this.paintLabels();
    });
    on("takeSlice", "click", () => this.take(false));
    on("takeAll", "click", () => this.take(true));
    on("help", "click", () => $("keys").showModal());
    this.tool("brush");
    this.eyeSaid();
    this.aboveSaid();
    this.looks();
  }

  tool(id) {
    this.tools.choose(id);
    for (const { id: other } of TOOLS) $(`tool-${other}`).setAttribute("aria-checked", String(other === id));
    this.sizes();
  }

  along(axis) {
    if (!this.tomogram) return;
    const middle = Math.floor(this.tomogram.shape[AXES.indexOf(axis)] / 2);
    this.bench.trying(async () => {
      await this.turnTo(axis, this.places[axis] ?? middle);
      this.view.fit();
      this.listFeatures();
    });
  }

  eyeSaid() {
    $("sigmaSaid").textContent = `${$("sigma").value} vox`;
    $("meanSaid").textContent = `${$("mean").value}`;
  }

  aboveSaid() {
    $("aboveSaid").textContent = Number($("above").value).toFixed(2);
  }

  looks() {
    this.view.look = { opacity: Number($("opacity").value) / 100, overlay: $("overlay").checked, outlines: $("outlines").checked };
    $("opacitySaid").textContent = `${$("opacity").value} %`;
    this.paintLabels();
    this.view.draw();
  }

  keys() {
    const flip = (id) => {
      $(id).checked = !$(id).checked;
      this.looks();
    };
    const act = (what) => () => what();
    const enter = (other) => {
      if (this.preview) this.bench.trying(() => this.confirm());
      else this.tools.press(other);
    };
    const filters = ["none", "gaussian", "sobel"];
    this.keyboard = new Keys(
      [
        ...TOOLS.map(({ id, title, key }) => ({ keys: [key], what: title, act: () => this.tool(id) })),
        { keys: ["[", "]"], what: "Smaller, larger (Shift+wheel)", act: (event) => this.resize(event.key === "[" ? -1 : 1) },
        { keys: ["u"], what: "Draw ignore, or the feature", act: () => flip("ignore") },
        { keys: ["Ctrl+z"], what: "Undo own", act: () => this.send({ op: "undo" }) },
        { keys: ["Ctrl+y", "Ctrl+Shift+z"], what: "Redo own", act: () => this.send({ op: "redo" }) },
        { keys: ["w", "s"], what: "Previous, next feature", act: (event) => this.step(event.key.toLowerCase() === "w" ? -1 : 1) },
        { keys: [..."123456789"], shown: ["1", "…", "9"], what: "Feature of this number", act: (event) => this.state.features[event.key - 1] && this.choose(this.state.features[event.key - 1].name) },
        { keys: ["n"], what: "New feature", act: () => $("newFeature").focus() },
        { keys: ["ArrowLeft", "ArrowRight", "PageUp", "PageDown"], shown: ["←", "→"], what: "Slice (wheel)", act: (event) => this.turn(/Left|Up/.test(event.key) ? -1 : 1) },
        { keys: ["Shift+ArrowLeft", "Shift+ArrowRight"], shown: ["Shift ←", "Shift →"], what: "Five slices", act: (event) => this.turn(event.key === "ArrowLeft" ? -5 : 5) },
        { keys: ["Home", "End"], what: "First, last slice", act: (event) => this.turn(event.key === "Home" ? -1e6 : 1e6) },
        { keys: ["ArrowUp", "ArrowDown"], shown: ["↑", "↓"], what: "Tomogram", act: (event) => this.neighbour(event.key === "ArrowUp" ? -1 : 1) },
        { keys: [",", "."], what: "Slice drawn on", act: (event) => this.jump(event.key === "," ? -1 : 1) },
        { keys: ["v"], what: "Next axis", act: () => this.along(AXES[(AXES.indexOf(this.axis) + 1) % 3]) },
        { keys: ["+", "=", "-"], shown: ["+", "-"], what: "Zoom (Ctrl+wheel)", act: (event) => this.view.zoom(event.key === "-" ? 1 / 1.25 : 1.25) },
        { keys: ["0"], what: "Fit", act: () => this.view.fit() },
        { keys: ["Ctrl+ArrowLeft", "Ctrl+ArrowRight", "Ctrl+ArrowUp", "Ctrl+ArrowDown"], shown: ["Ctrl + arrows", "Space + drag"], what: "Pan (middle button)", act: (event) => this.panBy(event.key) },
        { keys: ["a"], what: "Automatic contrast", act: act(() => this.auto()) },
        { keys: ["i"], what: "Invert", act: act(() => this.invert()) },
        { keys: ["z"], what: "Next filter", act: () => this.nextFilter(filters) },
        { keys: ["o"], what: "Overlay on, off", act: () => flip("overlay") },
        { keys: ["x"], what: "Hide the feature in hand", act: () => this.toggle(this.feature) },
        { keys: ["Shift+i"], what: "Interpolate between slices", act: () => this.bench.trying(() => this.interpolate()) },
        { keys: ["Shift+r"], what: "The whole slice as a box", act: () => this.wholeSlice() },
        { keys: ["Delete"], what: "Remove box or point (right button)", act: () => this.remove() },
        { keys: ["Alt+ArrowLeft", "Alt+ArrowRight", "Alt+ArrowUp", "Alt+ArrowDown"], shown: ["Alt + arrows"], what: "Move the cursor (Shift: by 10)", act: (event) => this.cursor(event.key, 1) },
        { keys: ["Alt+Shift+ArrowLeft", "Alt+Shift+ArrowRight", "Alt+Shift+ArrowUp", "Alt+Shift+ArrowDown"], shown: [], what: "", act: (event) => this.cursor(event.key, 10) },
        { keys: ["Enter"], what: "Use the tool at the cursor; take a preview", act: () => enter(false) },
        { keys: ["Shift+Enter"], what: "Erase or remove at the cursor", act: () => enter(true) },
        { keys: ["c"], what: "Close the polygon (double click)", act: () => this.tools.close() },
        { keys: ["Escape"], what: "Cancel", act: () => (this.tools.cancel(), this.cancel()) },
        { keys: ["g"], what: "Gallery", act: () => (location.hash = "") },
        { keys: ["?"], what: "These keys", act: () => $("keys").showModal() },
      ].filter(Boolean),
      () => this.bench.section === "annotate",
    );
    this.keyboard.list($("keyList"));
  }

  nextFilter(filters) {
    $("filter").value = filters[(filters.indexOf($("filter").value) + 1) % filters.length];
    if (this.tomogram) this.bench.trying(() => this.want());
  }

  panBy(key) {
    const { clientWidth, clientHeight } = this.view.canvas;
    const by = { ArrowLeft: [0.2, 0], ArrowRight: [-0.2, 0], ArrowUp: [0, 0.2], ArrowDown: [0, -0.2] }[key];
    this.view.pan(by[0] * clientWidth, by[1] * clientHeight);
  }

  cursor(key, step) {
    const by = { ArrowLeft: [0, -step], ArrowRight: [0, step], ArrowUp: [-step, 0], ArrowDown: [step, 0] }[key];
    this.tools.nudge(...by);
  }
}
