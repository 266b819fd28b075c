// The section Models: what is in the project's folder of models, their cards; bring in, hand on. All that files say is text.
import { cardElements } from "./card_text.js";
import { address, bytes, get, post, send } from "./server.js";

const $ = (id) => document.getElementById(id);
const FORMATS = { onnx: "ONNX", bioimage: "BioImage Model Zoo", scnm: "Ais" };

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

function sized(count) {
  return count < 1e6 ? `${Math.ceil(count / 1e3)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

export class Models {
  constructor(bench) {
    this.bench = bench;
    this.models = [];
    this.chosen = "";
    $("modelFile").addEventListener("change", () => bench.trying(() => this.bringIn()));
  }

  async refresh() {
    const told = await get("api/models");
    this.models = told.models;
    this.writable = told.writable;
    this.largest = told.largest;
    $("modelFile").disabled = !told.writable;
    $("modelCount").textContent = `${told.models.length} in ${told.folder}`;
    if (!this.models.some((one) => one.name === this.chosen)) this.chosen = this.models[0]?.name ?? "";
    this.rows();
    this.card();
    document.body.dataset.models = String(this.models.length);
  }

  rows() {
    $("modelRows").replaceChildren(
      ...this.models.map((one) => {
        const button = element("button", "");
        button.type = "button";
        button.setAttribute("aria-pressed", String(one.name === this.chosen));
        button.append(element("strong", one.name));
        button.append(
          one.fault
            ? element("span", one.fault, "fault")
            : element("span", `${one.features.join(", ")} · ${one.voxel_size}${this.score(one)}`, "dim"),
        );
        button.addEventListener("click", () => {
          this.chosen = one.name;
          for (const other of $("modelRows").querySelectorAll("button")) {
            other.setAttribute("aria-pressed", String(other === button));
          }
          this.card();
        });
        const item = document.createElement("li");
        item.append(button);
        return item;
      }),
    );
  }

  score(one) {
    return one.dice === null ? "" : ` · Dice ${one.dice.toFixed(3)}`;
  }

  card() {
    const one = this.models.find((model) => model.name === this.chosen);
    $("modelCard").hidden = !one;
    if (!one) return;
    $("modelName").textContent = one.name;
    $("modelFault").textContent = one.fault ?? "";
    const facts = one.fault
      ? [["Size", sized(one.size)]]
      : [
          ["Finds", one.features.join(", ")],
          ["Voxel size", one.voxel_size],
          ["Network", one.network],
          ["Dice of the validation", one.dice === null ? "not in the file" : one.dice.toFixed(3)],
          ["Size", sized(one.size)],
        ];
    $("modelFacts").replaceChildren(...facts.flatMap(([name, text]) => [element("dt", name), element("dd", text)]));
    const commands = one.fault ? [] : [one.use, one.share, ...Object.values(one.export)];
    $("modelCommands").textContent = commands.join("\n");
    $("modelText").replaceChildren(...cardElements(one.card ?? ""));
    $("modelPicture").hidden = !one.picture;
    if (one.picture) $("modelPicture").src = address(`api/models/${encodeURIComponent(one.name)}/picture`);
    else $("modelPicture").removeAttribute("src");
    $("modelActions").replaceChildren(...(one.fault ? [] : this.actions(one)));
  }

  actions(one) {
    const share = element("button", "Share in the project", "strong");
    share.addEventListener("click", () => this.bench.trying(() => this.share(one)));
    share.disabled = !this.writable;
    const downloads = Object.keys(one.export).map((form) => {
      const button = element("button", `Download for ${FORMATS[form]}`);
      button.addEventListener("click", () => this.bench.trying(() => this.download(one, form, button)));
      return button;
    });
    const predict = element("button", "Predict…");
    predict.title = "A run with this model";
    predict.addEventListener("click", () => this.bench.trying(() => this.bench.sections.run.predict(one.name)));
    const every = [predict, share, ...downloads];
    for (const button of every) button.type = "button";
    return every;
  }

  async share(one) {
    const made = await post(`api/models/${encodeURIComponent(one.name)}/share`, {});
    this.bench.say(`Shared: others give --model ${made.use}`);
  }

  async download(one, form, button) {
    button.disabled = true;
    this.bench.say(`${one.name} is being written for ${FORMATS[form]}…`);
    try {
      const { headers, data } = await bytes(`api/models/${encodeURIComponent(one.name)}/export?format=${form}`);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([data]));
      link.download = decodeURIComponent(headers.get("content-disposition").split("''")[1]);
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      this.bench.say(`${link.download}: ${sized(data.byteLength)}`);
    } finally {
      button.disabled = false;
    }
  }

  async bringIn() {
    const input = $("modelFile");
    const file = input.files[0];
    input.value = "";
    if (!file) return;
    if (file.size > this.largest) throw new Error(`${file.name} has ${sized(file.size)}; copy it into the folder instead.`);
    input.disabled = true;
    this.bench.say(`${file.name} is being looked at…`);
    try {
      const made = await send(`api/models?name=${encodeURIComponent(file.name)}`, file);
      this.chosen = made.name;
      await this.refresh();
      this.bench.say(`${made.name} is in the project.`);
      $("modelCard").focus();
    } finally {
      input.disabled = !this.writable;
    }
  }
}
