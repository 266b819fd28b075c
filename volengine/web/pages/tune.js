// Tuning: rules and picks of a region of one tomogram. Whatever is changed, one question is under way at a time, and the
// last one is answered; what the page shows is always an answer of the server.
import { ask, get, post, typed } from "./server.js";
import { Keys } from "./keys.js";
import { SliceView } from "./slice_view.js";
import { Slices } from "./slices.js";
import { curve, histogram } from "./tune_charts.js";
import { element, Form } from "./tune_form.js";
import { ruleBox } from "./tune_rules.js";

const $ = (id) => document.getElementById(id);
const AXES = "zyx";
const CURVE = Array.from({ length: 19 }, (_, n) => Number(((n + 1) * 0.05).toFixed(2)));
const ERASED = "#ff9a4d"; // above the threshold, and taken away by rules

export class Tune {
  constructor(bench) {
    this.bench = bench;
    this.number = null;
    this.busy = false;
    this.wanted = null;
    this.asking = 0;
    this.rules = [];
    this.picks = {};
    this.base = "";
    this.view = new SliceView($("tuneCanvas"));
    this.view.look = { opacity: 0.35, overlay: true, outlines: false };
    this.view.above = (context, pixel) => this.marks(context, pixel);
    this.slices = new Slices((slice, values) => this.shown(slice, values));
    this.connect();
  }

  // -- a tomogram ---------------------------------------------------------------------------------------------

  async show(number) {
    document.title = `Tune ${this.bench.facts.tomograms[number]} - volengine`;
    if (this.number !== number) this.clear(number);
    const [tomogram, facts] = [await get(`api/tomograms/${number}`), await get(`api/tomograms/${number}/tune`)];
    if (this.bench.section !== "tune" || this.bench.number !== number) return;
    if (this.number === number && JSON.stringify(facts.features) === JSON.stringify(this.facts.features)) {
      this.facts = facts; // a run may have written predictions and recipes meanwhile
      this.recipes(facts.recipes);
      this.truths(facts.truth);
      this.changed();
      return;
    }
    if (this.number === number) this.clear(number);
    Object.assign(this, { number, tomogram, facts });
    if (!facts.features.length) {
      this.number = null;
      const why = "There is no prediction of this tomogram in the project that can be shown. The section Run makes some: Predict… in Teach or Models.";
      $("tuneEmpty").textContent = [why, ...tomogram.notes].join("\n"); // such as those of a run that was stopped
      return;
    }
    const names = facts.features.map((one) => one.name);
    const region = this.recall(facts.region);
    this.feature = names.includes(this.feature) ? this.feature : names[0];
    this.rules = this.rules.filter((rule) => this.namesIn(rule).every((name) => names.includes(name)));
    this.region = region;
    this.points = [];
    const fill = (id, options) => $(id).replaceChildren(...options);
    fill("tuneFeature", names.map((name) => element("option", name, { value: name })));
    $("tuneFeature").value = this.feature;
    this.truths(facts.truth);
    this.recipes(facts.recipes);
    $("tuneIndex").max = String(tomogram.shape[0] - 1);
    this.index = Math.floor((this.region[0][0] + this.region[1][0]) / 2);
    this.forms();
    this.ends();
    await this.turn(this.index);
    this.view.fit();
    this.ask();
  }

  clear(number) {
    Object.assign(this, { number: null, answer: null, points: [], drawing: 0 }); // a curve under way is of another tomogram
    this.view.clear();
    this.slices.forget();
    $("tuneName").textContent = this.bench.facts.tomograms[number];
    for (const id of ["tuneEmpty", "tuneCountOf", "tuneScore", "tuneTime", "tuneSaved", "tuneCommand", "tuneSizesSaid"]) $(id).textContent = "";
    $("tuneCount").textContent = "-";
    for (const id of ["tuneSizes", "tuneCurve", "tunePick", "tuneRules"]) $(id).replaceChildren();
  }

  recipes(names) {
    $("tuneRecipes").replaceChildren(...names.map((name) => element("option", "", { value: name })));
  }

  truths(tables) {
    const before = $("tuneTruth").value;
    $("tuneTruth").replaceChildren(element("option", "none", { value: "" }), ...tables.map(({ key, name }) => element("option", name, { value: key })));
    if (tables.some(({ key }) => key === before)) $("tuneTruth").value = before;
    $("tuneTruthLine").hidden = !tables.length;
  }

  namesIn(rule) {
    const fields = rule.interact ?? rule.compete;
    return rule.interact ? [fields.child, fields.parent] : [...fields.emit, ...fields.absorb];
  }

  // -- the slice ----------------------------------------------------------------------------------------------

  async turn(index) {
    if (!this.tomogram) return;
    this.index = Math.max(0, Math.min(this.tomogram.shape[0] - 1, index));
    $("tuneIndex").value = String(this.index);
    $("tuneIndexSaid").textContent = String(this.index);
    await this.slices.want({ number: this.number, axis: "z", index: this.index, count: this.tomogram.shape[0], mean: 1, filter: "none", sigma: 1 });
  }

  shown(asked, slice) {
    const [, y, x] = this.tomogram.voxel_size;
    this.view.show(slice, { x: 1, y: y / x });
    this.view.window(...this.tomogram.contrast, $("tuneInvert").checked);
    this.layers();
  }

  layers() {
    if (!this.view.slice) return;
    const layers = [];
    if (this.answer && this.plane && this.answer.plane === this.index) {
      const [[, top, left], [, bottom, right]] = this.answer.region;
      const { rows, columns } = this.view.slice;
      const [kept, erased] = [new Uint8Array(rows * columns), new Uint8Array(rows * columns)];
      for (let row = top, at = 0; row < bottom; row++) {
        for (let column = left; column < right; column++, at++) {
          if (this.plane[at] === 1) kept[row * columns + column] = 1;
          else if (this.plane[at] === 2) erased[row * columns + column] = 1;
        }
      }
      layers.push({ labels: erased, colour: ERASED }, { labels: kept, colour: this.colour() });
    }
    this.view.overlay(layers);
  }

  colour() {
    return this.facts.features.find((one) => one.name === this.feature).colour;
  }

  // The region, and the picks that this slice cuts: circles as large as their balls are here.
  marks(context, pixel) {
    if (!this.region) return;
    const [[first, top, left], [last, bottom, right]] = this.dragged ?? this.region;
    const inside = this.index >= first && this.index < last;
    context.lineWidth = 1.5 * pixel;
    context.setLineDash(inside ? [] : [6 * pixel, 4 * pixel]);
    context.strokeStyle = "#ffd75e";
    context.strokeRect(left, top, right - left, bottom - top);
    context.setLineDash([]);
    const found = this.found();
    if (!found) return;
    for (let n = 0; n < found.positions.length; n++) {
      const [z, row, column] = found.positions[n];
      const away = Math.abs(z - this.index) * (this.tomogram.voxel_size[0] / this.tomogram.voxel_size[2]);
      const radius = found.radii_vox[n];
      if (away > radius) continue;
      const size = Math.max(Math.sqrt(radius * radius - away * away), 2 * pixel);
      context.beginPath();
      context.arc(column + 0.5, row + 0.5, size, 0, 2 * Math.PI);
      context.lineWidth = 3.5 * pixel;
      context.strokeStyle = "#000a";
      context.stroke();
      context.lineWidth = 1.7 * pixel;
      context.strokeStyle = "#ffffff";
      context.stroke();
      if (away <= 0.5) {
        context.fillStyle = "#ffffff";
        context.fillRect(column + 0.5 - 1.5 * pixel, row + 0.5 - 1.5 * pixel, 3 * pixel, 3 * pixel);
      }
    }
  }

  // -- questions ----------------------------------------------------------------------------------------------

  settings(threshold) {
    const pick = { feature: this.feature, ...this.fields() };
    return { rules: this.rules, pick: [threshold === undefined ? pick : { ...pick, threshold }] };
  }

  fields() {
    this.picks[this.feature] ??= {};
    return this.picks[this.feature];
  }

  roi() {
    return AXES.split("").map((_, axis) => `${this.region[0][axis]}:${this.region[1][axis]}`).join(",");
  }

  question(more = {}) {
    const truth = { feature: this.feature, key: $("tuneTruth").value, radius_nm: $("tuneTruth").value ? typed($("tuneRadius")) : 0 };
    return { settings: this.settings(), roi: this.roi(), z: this.index, truth, ...more };
  }

  // -- what was set, when the page is loaded again --------------------------------------------------------------

  get place() {
    return `${this.bench.facts.name} ${this.bench.facts.tomograms[this.number]}`;
  }

  remember() {
    const { place, feature, picks, rules, base, region } = this;
    this.bench.remember("tune", { place, feature, picks, rules, base, region });
  }

  // Once; the region of the tomogram it was set in, else the one that is proposed.
  recall(proposed) {
    const kept = this.recalled ? null : this.bench.remembered("tune");
    this.recalled = true;
    if (kept?.place !== this.place) return proposed;
    Object.assign(this, { feature: kept.feature, picks: kept.picks, rules: kept.rules, base: kept.base });
    return kept.region.every((ends) => ends.every((end, axis) => end >= 0 && end <= this.tomogram.shape[axis])) ? kept.region : proposed;
  }

  // Something was changed: the curve is of older settings then.
  changed(curveStays = false) {
    if (!curveStays) this.points = [];
    this.drawing = 0;
    this.ask();
  }

  async ask() {
    if (this.number === null) return;
    this.wanted = {};
    this.remember();
    document.body.dataset.tune = "asking";
    if (this.busy) return;
    this.busy = true;
    try {
      while (this.wanted) {
        this.wanted = null;
        await this.one();
      }
    } finally {
      this.busy = false;
      document.body.dataset.tune = "ready";
    }
  }

  async one() {
    const begun = performance.now();
    const number = this.number;
    try {
      const answer = await ask(`api/tomograms/${number}/tune`, this.question());
      const data = await answer.arrayBuffer();
      const length = new DataView(data).getUint32(0, true);
      const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
      const body = new Blob([new Uint8Array(data, 4 + length)]).stream().pipeThrough(new DecompressionStream("deflate"));
      const plane = new Uint8Array(await new Response(body).arrayBuffer());
      if (number !== this.number) return;
      Object.assign(this, { answer: head, plane: head.plane === null ? null : plane });
      this.refused();
      this.said(performance.now() - begun);
    } catch (error) {
      if (number !== this.number) return;
      this.answer = null;
      this.said(0);
      if (!this.refused(error)) this.bench.say(error.message, true);
    }
  }

  found() {
    return this.answer?.features.find((one) => one.feature === this.feature);
  }

  said(milliseconds) {
    const found = this.found();
    $("tuneCount").textContent = found ? String(found.picks) : "-";
    $("tuneCountOf").textContent = found ? `picks, of ${found.regions} regions above the threshold` : "";
    $("tuneTime").textContent = found ? `answered in ${Math.round(milliseconds)} ms` : "";
    const score = found?.score;
    const part = (value) => (value === null ? "-" : value.toFixed(3));
    $("tuneScore").textContent = score ? `precision ${part(score.precision)}, recall ${part(score.recall)}, F1 ${part(score.f1)} (${score.paired} of ${score.truth} known)` : "";
    if (found) {
      histogram($("tuneSizes"), found.sizes, Number(this.fields().min_volume_nm3 ?? 0));
      $("tuneSizesSaid").textContent = "all regions, and in colour the picks; dashed: the least volume";
      $("tuneCommand").textContent = this.answer.commands.join("\n");
      $("tuneWhy").textContent = this.answer.why.join(" ");
      this.bench.say("");
    } else {
      $("tuneSizes").replaceChildren();
      for (const id of ["tuneSizesSaid", "tuneCommand", "tuneWhy"]) $(id).textContent = ""; // they were of settings before
    }
    curve($("tuneCurve"), this.points, Number(this.fields().threshold ?? 0.5));
    this.layers();
    this.view.draw();
  }

  // Say what is wrong where it is; whether there is a place for it.
  refused(error = {}) {
    const { part, number, field } = error.refused ?? {};
    const pick = this.pickForm.wrong(part === "pick" ? field : undefined, error.message);
    const rules = this.ruleForms.map(({ form, fault }, n) => {
      const is = part === "rules" && n === number;
      const there = form?.wrong(is ? field : undefined, error.message) ?? false;
      fault.textContent = is && !there ? error.message : "";
      return is;
    });
    return pick || rules.includes(true);
  }

  // The number of picks at some thresholds, one after the other; a change ends it.
  async curve() {
    if (this.number === null) return;
    const mine = (this.drawing = performance.now());
    this.points = [];
    for (const threshold of CURVE) {
      const found = await post(`api/tomograms/${this.number}/tune/count`, this.question({ settings: this.settings(threshold) }));
      if (this.drawing !== mine) return;
      this.points.push([threshold, found[this.feature].picks]);
      curve($("tuneCurve"), this.points, Number(this.fields().threshold ?? 0.5));
    }
  }

  // -- forms --------------------------------------------------------------------------------------------------

  forms() {
    let threshold = this.fields().threshold;
    const change = () => {
      const stays = this.fields().threshold !== threshold; // then only this one was changed
      threshold = this.fields().threshold;
      this.changed(stays);
    };
    this.pickForm = new Form($("tunePick"), this.facts.pick, this.fields(), change, "tune");
    this.ruleForms = [];
    $("tuneRules").replaceChildren(...this.rules.map((rule, number) => this.rule(rule, number)));
    const few = this.facts.features.length < 2;
    $("tuneAddInteract").disabled = few;
    $("tuneAddCompete").disabled = few;
  }

  rule(rule, number) {
    const remove = () => {
      this.rules.splice(number, 1);
      this.forms();
      this.changed();
    };
    const names = this.facts.features.map((one) => one.name);
    const { box, form, fault } = ruleBox(rule, number, { names, fields: this.facts.rule, change: () => this.changed(), remove });
    this.ruleForms.push({ form, fault });
    return box;
  }

  add(kind) {
    const names = this.facts.features.map((one) => one.name);
    const other = names.find((name) => name !== this.feature);
    this.rules.push(kind === "interact" ? { interact: { child: this.feature, parent: other, kind: "avoid", radius_nm: 10 } } : { compete: { emit: names, absorb: names } });
    this.forms();
    this.changed();
  }

  // -- the region ---------------------------------------------------------------------------------------------

  ends() {
    const inputs = [...AXES].flatMap((axis, n) => {
      const [from, to] = [0, 1].map((side) => {
        const input = element("input", "", { type: "number", min: 0, max: this.tomogram.shape[n], id: `tune-${axis}${side}` });
        input.value = String(this.region[side][n]);
        input.setAttribute("aria-label", `${axis} ${side ? "to" : "from"}`);
        input.addEventListener("change", () => this.typed());
        return input;
      });
      return [element("span", axis), from, element("span", "to"), to];
    });
    $("tuneEnds").replaceChildren(...inputs);
    this.view.draw();
  }

  typed() {
    const read = (side) => [...AXES].map((axis) => Math.round(typed($(`tune-${axis}${side}`))));
    this.choose([read(0), read(1)]);
  }

  choose(region) {
    this.region = region;
    this.ends();
    this.changed();
  }

  drag(event) {
    const begin = this.view.place(event);
    if (!this.region || event.button !== 0 || !this.view.slice) return;
    const { canvas } = this.view;
    canvas.setPointerCapture(event.pointerId);
    const move = (now) => {
      const end = this.view.place(now);
      const span = (a, b, most) => [Math.max(0, Math.floor(Math.min(a, b))), Math.min(most, Math.ceil(Math.max(a, b)))];
      const [top, bottom] = span(begin.row, end.row, this.view.slice.rows);
      const [left, right] = span(begin.column, end.column, this.view.slice.columns);
      this.dragged = [[this.region[0][0], top, left], [this.region[1][0], bottom, right]];
      this.view.draw();
    };
    const up = () => {
      canvas.removeEventListener("pointermove", move);
      const [[, top, left], [, bottom, right]] = this.dragged ?? [[0, 0, 0], [0, 0, 0]];
      const region = this.dragged;
      this.dragged = null;
      if (bottom - top > 3 && right - left > 3) this.choose(region);
      else this.view.draw();
    };
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerup", up, { once: true });
  }

  // -- recipes ------------------------------------------------------------------------------------------------

  async save() {
    if (this.number === null) return;
    const name = $("tuneRecipe").value.trim() || "tuned";
    const names = this.facts.features.map((one) => one.name);
    const pick = names.filter((one) => one === this.feature || Object.keys(this.picks[one] ?? {}).length).map((feature) => ({ feature, ...this.picks[feature] }));
    const settings = { rules: this.rules, pick }; // what was changed, and what is in view
    const more = { settings, name, replace: $("tuneReplace").checked, part: $("tunePart").checked, base: this.base };
    try {
      const saved = await post(`api/tomograms/${this.number}/tune/recipe`, this.question(more));
      this.recipes(saved.recipes);
      $("tuneSaved").className = "small";
      $("tuneSaved").textContent = `Saved, with picks of ${pick.map((one) => one.feature).join(", ")}: ${saved.file} `;
      const run = element("button", "Run it…", { type: "button" });
      run.addEventListener("click", () => this.bench.sections.run.choose(name));
      $("tuneSaved").append(run);
      $("tuneCommand").textContent = saved.commands.join("\n");
      $("tuneWhy").textContent = saved.why.join(" ");
    } catch (error) {
      $("tuneSaved").className = "small fault";
      $("tuneSaved").textContent = error.message;
    }
  }

  async load() {
    const name = $("tuneRecipe").value.trim();
    const loaded = await get(`api/tune/recipes/${encodeURIComponent(name)}`);
    this.base = name;
    this.rules = loaded.rules;
    this.picks = Object.fromEntries(loaded.pick.map(({ feature, ...fields }) => [feature, fields]));
    const known = this.facts.features.map((one) => one.name);
    this.feature = loaded.pick.map((one) => one.feature).find((one) => known.includes(one)) ?? this.feature;
    $("tuneFeature").value = this.feature;
    this.forms();
    this.changed();
    $("tuneSaved").className = "small";
    $("tuneSaved").textContent = `Loaded: ${name}. Its other steps are kept when it is saved.`;
  }

  connect() {
    const on = (id, event, act) => $(id).addEventListener(event, act);
    const { trying } = this.bench;
    on("tuneFeature", "change", () => {
      this.feature = $("tuneFeature").value;
      this.forms();
      this.changed();
    });
    on("tuneAddInteract", "click", () => this.add("interact"));
    on("tuneAddCompete", "click", () => this.add("compete"));
    on("tuneIndex", "input", () => trying(() => this.step(Number($("tuneIndex").value) - this.index)));
    on("tuneSmaller", "click", () => this.view.zoom(1 / 1.25));
    on("tuneLarger", "click", () => this.view.zoom(1.25));
    on("tuneFit", "click", () => this.view.fit());
    on("tuneInvert", "change", () => this.view.slice && this.view.window(...this.tomogram.contrast, $("tuneInvert").checked));
    on("tuneTruth", "change", () => this.ask());
    on("tuneRadius", "input", () => this.ask());
    on("tuneDraw", "click", () => trying(() => this.curve()));
    on("tuneLoad", "click", () => trying(() => this.load()));
    on("tuneSaving", "submit", (event) => {
      event.preventDefault();
      trying(() => this.save());
    });
    on("tuneCopy", "click", () => trying(() => navigator.clipboard.writeText($("tuneCommand").textContent)));
    const canvas = $("tuneCanvas");
    canvas.addEventListener("pointerdown", (event) => this.drag(event));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.ctrlKey) this.view.zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, event.offsetX, event.offsetY);
      else trying(() => this.step(Math.sign(event.deltaY)));
    }, { passive: false });
    canvas.addEventListener("pointermove", (event) => {
      const { row, column } = this.view.place(event);
      $("tuneAt").textContent = `z ${this.index} · y ${Math.floor(row)} · x ${Math.floor(column)}`;
    });
    new Keys(
      [
        { keys: ["ArrowLeft", "ArrowRight", "PageUp", "PageDown"], shown: ["←", "→"], what: "Slice (wheel)", act: (event) => trying(() => this.step(/Left|Up/.test(event.key) ? -1 : 1)) },
        { keys: ["Shift+ArrowLeft", "Shift+ArrowRight"], shown: ["Shift ←", "Shift →"], what: "Five slices", act: (event) => trying(() => this.step(event.key === "ArrowLeft" ? -5 : 5)) },
        { keys: ["+", "=", "-"], shown: ["+", "-"], what: "Zoom (Ctrl+wheel)", act: (event) => this.view.zoom(event.key === "-" ? 1 / 1.25 : 1.25) },
        { keys: ["0"], what: "Fit", act: () => this.view.fit() },
        { keys: ["g"], what: "Gallery", act: () => (location.hash = "gallery") },
      ],
      () => this.bench.section === "tune",
      "Tune",
    );
  }

  async step(by) {
    await this.turn(this.index + by);
    this.ask();
  }
}
