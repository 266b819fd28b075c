// Annotating: one tomogram, one slice. What is drawn is sent as an operation of the annotations, one after the other; the
// labels on the screen are always those that the server has answered.
import { annotateKeys } from "./annotate_keys.js";
import { Answers } from "./answers.js";
import { Between } from "./between.js";
import { Contrast, short } from "./contrast.js";
import { Marks } from "./marks.js";
import { Proposal } from "./proposal.js";
import { get, post, framed } from "./server.js";
import { SliceView } from "./slice_view.js";
import { Slices } from "./slices.js";
import { TOOLS, Tools } from "./tools.js";

const $ = (id) => document.getElementById(id);
const AXES = "zyx";
const POLL_MS = 1500;
const ASIDE = "#35e0ff"; // previews and predictions: no colour of a feature

function made(tag, text = "", more = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  return Object.assign(element, more);
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
    this.view = new SliceView($("canvas"));
    this.view.onzoom = () => ($("zoom").textContent = `${Math.round(100 * this.view.scale)} %`);
    this.contrast = new Contrast(this.view);
    this.marks = new Marks(this.view, this);
    this.between = new Between(this);
    this.answers = new Answers(this);
    this.proposal = new Proposal(this);
    this.tools = new Tools(this.view, this);
    this.slices = new Slices((asked, slice) => this.arrived(asked, slice));
    this.connect();
    annotateKeys(this);
    this.poll();
  }

  // -- tomogram and slice -----------------------------------------------------------------------------------

  async show(number) {
    if (number === this.number && this.tomogram) {
      await this.again();
      return this.proposal.begin();
    }
    this.bench.say(`Opening ${this.bench.facts.tomograms[number]} …`);
    this.between.cancel();
    this.tools.cancel();
    this.tools.pending = []; // they are sent, and seen when one comes back
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
    this.bench.trying(() => this.answers.list(predictions)); // models may take a moment
    this.places = {};
    this.contrast.forget(tomogram.contrast);
    this.hidden.clear();
    this.state = { version: 0, features: [], boxes: [], points: [], undo: false, redo: false };
    await this.readState();
    await this.turnTo(this.axis, Math.floor(shape[AXES.indexOf(this.axis)] / 2));
    this.view.fit();
    this.bench.say("");
    document.body.dataset.shown = name;
    await this.proposal.begin();
    return this.answers.asked();
  }

  // The same tomogram again, perhaps with predictions of a run, or another model.
  async again() {
    const { number } = this;
    const { predictions } = await get(`api/tomograms/${number}`);
    if (number !== this.number) return undefined;
    this.tomogram.predictions = predictions;
    this.bench.trying(() => this.answers.list(predictions));
    await this.refresh();
    if (this.bench.wanted) return this.answers.asked();
    return this.showPredicted(); // a run may have written it anew
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
      this.between.cancel();
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
    const [y, x] = this.tomogram.voxel_size.filter((_, at) => AXES[at] !== asked.axis);
    const least = Math.min(y, x);
    this.view.show(slice, { y: y / least, x: x / least });
    this.contrast.apply(asked.filter);
    this.paintLabels();
    this.tell(this.tools.at);
    document.body.dataset.slice = `${asked.axis}=${asked.index}`;
    document.body.dataset.version = String(labels.head.version);
    this.bench.trying(() => this.answers.want(asked)); // it takes longer than the slice
  }

  // What a model answers has come.
  answered() {
    this.predicted = this.answers.here(this);
    this.paintLabels();
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
    $("unwritten").textContent = state.unwritten && `What you drew is kept, but not yet in the label images: ${state.unwritten}`;
    $("said").hidden = !state.unwritten && !$("notes").childElementCount;
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
    const work = async () => {
      try {
        await post(`api/tomograms/${number}/operations`, { operation, user });
        if (number === this.number) await this.refresh();
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
    $("drawnOn").textContent = this.feature ? `${this.feature}: drawn on ${drawn.length} ${drawn.length === 1 ? "slice" : "slices"} along ${this.axis}` : "Add a feature to begin.";
    $("drawnBefore").disabled = $("drawnAfter").disabled = !drawn.length;
  }

  choose(name) {
    this.feature = name;
    this.between.cancel();
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
    const beyond = { 0: "≤ ", 65535: "≥ " }[values[at]] ?? ""; // of the range that is sent
    const value = beyond + short(low + ((high - low) * values[at]) / 65535);
    $("at").textContent = [`${this.axis} ${this.index}`, `${axes[0]} ${row}`, `${axes[1]} ${column}`, value, ...under].join(" · ");
  }

  paintLabels() {
    if (!this.view.slice || !this.labels) return;
    const names = this.state.features.filter((one) => !this.hidden.has(one.name));
    names.sort((a, b) => (a.name === this.feature) - (b.name === this.feature)); // the one in hand on top
    const layers = names.filter((one) => this.labels.by.has(one.name)).map((one) => ({ labels: this.labels.by.get(one.name), colour: one.colour }));
    if (this.predicted) {
      layers.unshift({ labels: this.above(), colour: ASIDE });
    }
    const preview = this.between.on(this.axis, this.index);
    if (preview) layers.push({ labels: preview, colour: ASIDE });
    this.view.overlay(layers);
  }

  // -- predictions ------------------------------------------------------------------------------------------

  async readPredicted({ number, axis, index }) {
    const key = $("prediction").value;
    if (!key) return null;
    if (this.answers.chosen()) return this.answers.here({ number, axis, index });
    const query = new URLSearchParams({ axis, index, prediction: key });
    const answer = await fetch(new URL(`api/tomograms/${number}/slice?${query}`, document.baseURI));
    if (!answer.ok) throw new Error((await answer.json()).error);
    return new Uint16Array(await answer.arrayBuffer());
  }

  async showPredicted() {
    this.predicted = await this.readPredicted(this);
    this.paintLabels();
    await this.answers.want(this);
  }

  above() {
    const above = Math.round(65535 * Number($("above").value));
    return this.predicted && Uint8Array.from(this.predicted, (value) => (value > above ? 1 : 0));
  }

  take(all) {
    const prediction = $("prediction").value;
    if (!prediction) return this.bench.say("Choose a prediction first.", true);
    if (!this.ready()) return undefined;
    if (this.answers.chosen()) {
      if (!this.predicted) return this.bench.say("The model has not answered yet.", true);
      return this.send({ op: "runs", ...this.slice(), runs: this.answers.runs(this.above(), this.view.slice.columns), ...this.value(false) });
    }
    const parts = [":", ":", ":"];
    if (!all) parts[AXES.indexOf(this.axis)] = `${this.index}:${this.index + 1}`;
    const operation = { op: "take", feature: this.feature, prediction, above: Number($("above").value), box: parts.join(","), replace: $("replace").checked };
    this.bench.say(`Taking what is above ${operation.above} …`);
    return this.send({ ...operation, ...this.value(false) }).then(() => document.body.dataset.state === "wrong" || this.bench.say(""));
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
    on("prediction", "change", trying(() => this.showPredicted()));
    on("above", "input", () => {
      this.aboveSaid();
      this.paintLabels();
    });
    on("takeSlice", "click", () => this.take(false));
    on("takeAll", "click", () => this.take(true));
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
