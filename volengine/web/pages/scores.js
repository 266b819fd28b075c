// Scores: all models of the project on all training boxes of now, before and after in one table.
import { get, post } from "./server.js";

const $ = (id) => document.getElementById(id);
const GOING = ["waiting", "running", "stopping"];
const HEADS = ["Feature", "Model", "Boxes", "Dice", "never seen", "Dice there", "in its data", "Dice there"];
const KEYS = ["feature", "model", "boxes", "dice", "new_boxes", "new_dice", "data_boxes", "data_dice"];

function made(tag, text = "", more = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  return Object.assign(element, more);
}

function shown(key, text) {
  if (key === "model") return text.split("/").pop();
  if (text === "") return "–";
  return key.endsWith("dice") ? Number(text).toFixed(3) : text;
}

export class Scores {
  constructor(bench) {
    this.bench = bench;
    $("scoresStart").addEventListener("click", () => bench.trying(async () => (await post("api/scores", {}), this.refresh())));
    $("scoresStop").addEventListener("click", () => bench.trying(async () => (await post(`api/jobs/${this.facts.job.number}/stop`, {}), this.refresh())));
  }

  get going() {
    return GOING.includes(this.facts?.job?.state);
  }

  async refresh() {
    const facts = await get("api/scores");
    const text = JSON.stringify(facts);
    if (text === this.text) return;
    Object.assign(this, { text, facts });
    const { job, of, rows } = facts;
    $("scoresStart").disabled = this.going;
    $("scoresStop").hidden = !this.going;
    $("scoresSaid").textContent = of?.wrong ?? (job && job.state !== "done" ? `Job ${job.number}: ${job.state}. ${job.why}` : (of?.said.join(" ") ?? ""));
    $("scoresCommand").textContent = job?.command ?? "";
    $("scoresTable").hidden = !rows.length;
    $("scoresTable").tHead.rows[0].replaceChildren(...HEADS.map((head) => made("th", head, { scope: "col" })));
    $("scoresTable").tBodies[0].replaceChildren(
      ...rows.map((row) => {
        const line = made("tr");
        line.append(...KEYS.map((key) => made("td", shown(key, row[key] ?? ""), { title: key === "model" ? row[key] : "" })));
        return line;
      }),
    );
    document.body.dataset.scores = String(rows.length);
  }
}
