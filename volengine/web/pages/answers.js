// What a model of the project answers on the slice in view. The server computes it in a moment, so the slice is there
// first; of slices that one turns over, only the last one is asked for.
import { bytes, get } from "./server.js";

const $ = (id) => document.getElementById(id);

function option(text, value) {
  const made = document.createElement("option");
  made.textContent = text;
  made.value = value;
  return made;
}

function group(label, options) {
  const made = document.createElement("optgroup");
  made.label = label;
  made.append(...options);
  return made;
}

export class Answers {
  constructor(page) {
    this.page = page;
    this.models = [];
    $("sizes").addEventListener("change", () => page.bench.trying(() => page.showPredicted()));
  }

  // The choice of what lies over the slice: predictions of the tomogram, and features of models, which come later.
  list(predictions) {
    this.predictions = predictions;
    this.kept = this.wanted = null; // a model may have been trained on since
    this.fill();
    this.listed = get("api/teach/models").then((models) => {
      this.models = models.filter((one) => one.features);
      this.fill();
    });
    return this.listed;
  }

  fill() {
    const before = $("prediction").value;
    const predictions = this.predictions.map((one) => option(one.name, one.key));
    const own = this.models.flatMap((model, at) =>
      model.features.map((feature, of) => option(`${feature.name} by ${model.name}`, `model ${at} ${of} ${model.name}`)),
    );
    $("taking").hidden = !predictions.length && !own.length;
    const groups = [];
    if (predictions.length) groups.push(group("Predictions", predictions));
    if (own.length) groups.push(group("Models, on this slice", own));
    $("prediction").replaceChildren(option("none", ""), ...groups);
    if ([...predictions, ...own].some((one) => one.value === before)) $("prediction").value = before; // of another tomogram, too
    this.looks();
  }

  // The model that the section Teach has asked for.
  async asked() {
    const name = this.page.bench.wanted;
    this.page.bench.wanted = undefined;
    if (name) await this.listed;
    const at = name ? this.models.findIndex((one) => one.name === name) : -1;
    if (at < 0) return;
    $("prediction").value = `model ${at} 0 ${name}`;
    await this.page.showPredicted();
  }

  chosen() {
    const [kind, at, of] = $("prediction").value.split(" ");
    if (kind !== "model") return null;
    const model = this.models[at];
    return { model: model.name, feature: model.features[of].name, sizes: $("sizes").value };
  }

  looks() {
    const chosen = this.chosen();
    $("sizesLine").hidden = !chosen;
    $("replace").disabled = $("takeAll").disabled = Boolean(chosen);
    if (!chosen) $("answerSaid").hidden = true;
  }

  // The answer on a slice, if it has come.
  here({ number, axis, index }) {
    return this.kept?.key === this.key(number, axis, index) ? this.kept.values : null;
  }

  key(number, axis, index) {
    return JSON.stringify([number, axis, index, this.chosen()]);
  }

  async want({ number, axis, index }) {
    this.looks();
    const chosen = this.chosen();
    const key = this.key(number, axis, index);
    if (chosen && this.wanted === key) return;
    this.stop?.abort();
    this.wanted = key;
    if (!chosen || this.kept?.key === key) return;
    this.stop = new AbortController();
    $("answerSaid").hidden = false;
    $("answerSaid").textContent = `${chosen.model} looks at this slice …`;
    document.body.dataset.answer = "waiting";
    const query = new URLSearchParams({ axis, index, ...chosen });
    try {
      const { data, headers } = await bytes(`api/tomograms/${number}/answer?${query}`, { signal: this.stop.signal });
      if (key !== this.wanted) return;
      this.kept = { key, values: new Uint16Array(data) };
      $("answerSaid").textContent = `As a command: ${decodeURIComponent(headers.get("x-command"))}`;
      this.page.answered();
      document.body.dataset.answer = `${axis}=${index}`;
    } catch (error) {
      if (error.name === "AbortError") return;
      this.wanted = null;
      $("answerSaid").textContent = error.message;
      document.body.dataset.answer = "wrong";
      throw error;
    }
  }

  // What is shown as an operation of the annotations: rows of voxels.
  runs(shown, columns) {
    const runs = [];
    for (let at = 0; at < shown.length; at++) {
      if (!shown[at] || (at % columns && shown[at - 1])) continue;
      const row = Math.floor(at / columns);
      let end = at + 1;
      while (end < (row + 1) * columns && shown[end]) end++;
      runs.push([row, at - row * columns, end - row * columns]);
    }
    return runs;
  }
}
