// Where next: patches of the whole project of which a model is least certain; a click leads to the slice, with a box proposed.
import { bytes, get, post, typed } from "./server.js";

const $ = (id) => document.getElementById(id);
const OWN = "the project's predictions";
const GOING = ["waiting", "running", "stopping"];
const AT_ONCE = 100; // pictures

function made(tag, text = "", more = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  return Object.assign(element, more);
}

function options(select, entries) {
  const before = select.value;
  select.replaceChildren(...entries.map(([value, text]) => made("option", text, { value })));
  if (entries.some(([value]) => value === before)) select.value = before;
}

export class WhereNext {
  constructor(bench) {
    this.bench = bench;
    $("nextForm").addEventListener("submit", (event) => {
      event.preventDefault();
      bench.trying(() => this.find());
    });
    $("nextPredict").addEventListener("click", () => bench.trying(() => this.predict()));
    for (const id of ["nextSource", "nextFeature"]) $(id).addEventListener("change", () => this.choices());
  }

  async refresh() {
    const facts = await get("api/suggestions");
    const text = JSON.stringify(facts);
    if (text === this.text) return;
    this.text = text;
    this.facts = facts;
    options($("nextSource"), facts.sources.map(({ key, features, old }) => [key, (key || OWN) + (Object.keys(features).length ? (old ? " (newer than its predictions)" : "") : " (not predicted yet)")]));
    this.choices();
    this.jobs();
    await this.list();
  }

  get going() {
    return this.facts.jobs.some((one) => GOING.includes(one.state));
  }

  get source() {
    return this.facts.sources.find((one) => one.key === $("nextSource").value);
  }

  // What can be chosen with this model.
  choices() {
    const features = this.source?.features ?? {};
    options($("nextFeature"), Object.entries(features).map(([name, count]) => [name, `${name} (${count})`]));
    const feature = $("nextFeature").value;
    const others = this.facts.sources.filter((one) => one !== this.source && one.features[feature]);
    options($("nextOther"), [["-", "nothing: itself alone"], ...others.map(({ key }) => [`=${key}`, key || OWN])]);
    $("nextFind").disabled = !feature;
    $("nextPredict").disabled = $("nextSizes").disabled = !this.source?.key;
  }

  async find() {
    const other = $("nextOther").value;
    const asked = { source: $("nextSource").value, feature: $("nextFeature").value, ...(other === "-" ? {} : { other: other.slice(1) }) };
    for (const [name, id] of [["depth", "nextDepth"], ["side", "nextSide"], ["count", "nextCount"]]) asked[name] = typed($(id));
    await post("api/suggestions", asked);
    await this.refresh();
  }

  async predict() {
    await post("api/suggestions/predict", { model: $("nextSource").value, sizes: $("nextSizes").value });
    await this.refresh();
  }

  jobs() {
    $("nextJobs").replaceChildren(
      ...this.facts.jobs.map(({ number, title, state, why, command }) => {
        const line = made("li", "");
        line.dataset.state = state;
        line.append(made("span", `Job ${number}: ${title}: ${state}`));
        if (GOING.includes(state)) {
          const stop = made("button", "Stop", { type: "button" });
          stop.addEventListener("click", () => this.bench.trying(async () => (await post(`api/jobs/${number}/stop`, {}), this.refresh())));
          line.append(stop);
        }
        if (why) line.append(made("span", why, { className: "fault" }));
        line.append(made("pre", command));
        return line;
      }),
    );
  }

  async list() {
    const { of, patches } = this.facts;
    const left = patches.filter((one) => !one.done).length;
    $("nextSaid").textContent = !of ? "" : (of.wrong ?? `${of.title} (job ${of.job}): ${patches.length} patches, ${left} without a training box.`);
    this.bench.patches = patches;
    const canvases = patches.map(() => made("canvas"));
    $("nextList").replaceChildren(
      ...patches.map((one, at) => {
        const button = made("button", "", { type: "button", title: `${one.tomogram}: uncertainty ${one.weight.toFixed(3)}`, disabled: one.number === null });
        Object.assign(button.dataset, { rank: one.rank, done: one.done });
        const where = one.number === null ? "not in the project" : `z ${one.slice}`;
        button.append(canvases[at], made("span", `${one.done ? "✓ " : ""}${one.rank}. ${one.tomogram}`), made("span", `${where} · ${one.weight.toFixed(3)}`));
        button.addEventListener("click", () => this.go(one));
        const item = made("li");
        item.append(button);
        return item;
      }),
    );
    for (let start = 0; start < patches.length; start += AT_ONCE) {
      const ranks = patches.slice(start, start + AT_ONCE).map((one) => one.rank);
      const { data, headers } = await bytes(`api/suggestions/${of.job}/pictures?ranks=${ranks.join(",")}`);
      if (this.facts.patches !== patches) return;
      const side = Number(headers.get("x-side"));
      const grey = new Uint8Array(data);
      ranks.forEach((_, number) => {
        const canvas = canvases[start + number];
        canvas.width = canvas.height = side;
        const image = new ImageData(side, side);
        const pixels = new Uint32Array(image.data.buffer);
        for (let at = 0; at < pixels.length; at++) pixels[at] = 0xff000000 | (grey[number * pixels.length + at] * 0x010101);
        canvas.getContext("2d").putImageData(image, 0, 0);
      });
    }
    document.body.dataset.suggested = String(patches.length);
  }

  go(patch) {
    Object.assign(this.bench, { patch, patchAsked: true });
    this.bench.show(patch.number);
  }
}
