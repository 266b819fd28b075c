// Teaching: trainings on what is annotated, watched as they go; their models look at slices in Annotate.
import { losses } from "./losses.js";
import { Scores } from "./scores.js";
import { address, get, post, typed } from "./server.js";
import { WhereNext } from "./where_next.js";

const $ = (id) => document.getElementById(id);
const POLL_MS = 2000;

function made(tag, text = "", more = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  return Object.assign(element, more);
}

function time(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export class Teach {
  constructor(bench) {
    this.bench = bench;
    this.shown = new Map();
    this.asked = this.listed = 0; // questions for the trainings, and which of them was answered last
    this.next = new WhereNext(bench);
    this.scores = new Scores(bench);
    $("teachForm").addEventListener("submit", (event) => {
      event.preventDefault();
      bench.trying(() => this.train());
    });
    this.poll();
  }

  async refresh() {
    document.body.dataset.teach = "reading";
    const facts = get("api/teach"); // takes longer: it reads the annotations and models of the whole project
    const [found] = await Promise.all([facts, this.watch()]);
    this.facts = found;
    this.form();
    await Promise.all([this.next.refresh(), this.scores.refresh()]);
    document.body.dataset.teach = "ready";
  }

  // -- a new one --------------------------------------------------------------------------------------------

  form() {
    const { features, networks, models, unread } = this.facts;
    const before = new Set(this.features());
    $("teachFeatures").replaceChildren(
      made("legend", "Features"),
      ...features.map(({ name, colour, boxes, tomograms }) => {
        const line = made("label", "", { className: "tick" });
        const tick = made("input", "", { type: "checkbox", value: name, checked: before.has(name) || features.length === 1 });
        tick.addEventListener("change", () => this.name());
        const dot = made("span", "", { className: "dot" });
        dot.style.backgroundColor = colour;
        const amount = `${boxes} ${boxes === 1 ? "box" : "boxes"} in ${tomograms}`;
        line.append(tick, dot, made("span", name), made("span", amount, { className: "amount small", title: "Training boxes, and in how many tomograms" }));
        return line;
      }),
    );
    if (!features.length) $("teachFeatures").append(made("p", "No feature has a training box yet.", { className: "dim" }));
    const begin = $("teachBegin").value;
    const group = (label, options) => {
      const own = made("optgroup", "", { label });
      own.append(...options);
      return own;
    };
    const usual = made("option", "as the boxes suggest", { value: "" });
    const news = group("A new network", networks.map((name) => made("option", name, { value: `network ${name}` })));
    const olds = models.filter((one) => one.features).map((one) => made("option", one.name, { value: `start ${one.name}` }));
    $("teachBegin").replaceChildren(usual, news, ...(olds.length ? [group("A model, to go on from", olds)] : []));
    if ([...$("teachBegin").options].some((one) => one.value === begin)) $("teachBegin").value = begin;
    $("teachUnread").replaceChildren(...unread.map((text) => made("li", text)));
    this.name();
  }

  features() {
    return [...$("teachFeatures").querySelectorAll("input:checked")].map((one) => one.value);
  }

  // A name that is free, unless somebody has given one.
  name() {
    const field = $("teachName");
    if (field.value && field.value !== this.proposed) return;
    const taken = new Set([...this.facts.models.map((one) => one.name.replace(/\.[^.]*$/, "")), ...this.shown.keys()]);
    const stem = this.features().join("+").replace(/_+/g, "_").slice(0, 50) || "model";
    let at = 1;
    while (taken.has(`${stem}-${at}`)) at++;
    field.value = this.proposed = `${stem}-${at}`;
  }

  async train() {
    const features = this.features();
    if (!features.length) throw new Error("Choose a feature that has training boxes.");
    const [kind, ...name] = $("teachBegin").value.split(" ");
    const asked = { name: $("teachName").value.trim(), features, ...(kind ? { [kind]: name.join(" ") } : {}) };
    for (const [key, id] of [["epochs", "teachEpochs"], ["steps", "teachSteps"], ["batch", "teachBatch"]]) asked[key] = typed($(id));
    this.bench.say("Exporting what is annotated …");
    await post("api/trainings", asked);
    this.bench.say("");
    await this.watch();
    this.proposed = $("teachName").value;
    await this.refresh();
  }

  // -- those there are --------------------------------------------------------------------------------------

  async poll() {
    if (this.bench.section === "teach" && !document.hidden) {
      try {
        await this.watch();
        if (this.next.going) await this.next.refresh();
        if (this.scores.going) await this.scores.refresh();
        if (this.lost) this.bench.say("");
        this.lost = false;
      } catch (error) {
        this.lost = true;
        this.bench.say(error.message, true);
      }
    }
    setTimeout(() => this.poll(), POLL_MS);
  }

  // Show the trainings as they are now; an answer that others have overtaken is not shown.
  async watch() {
    const asked = ++this.asked;
    const trainings = await get("api/trainings");
    if (asked < this.listed) return;
    this.listed = asked;
    this.list(trainings);
  }

  list(trainings) {
    $("teachNone").hidden = trainings.length > 0;
    const cards = trainings.map((one) => {
      const text = JSON.stringify(one);
      const known = this.shown.get(one.model);
      if (known?.text === text) return known.card; // what somebody reads or has in focus stays
      const card = this.card(one, known?.card);
      this.shown.set(one.model, { text, card });
      return card;
    });
    const box = $("trainings");
    if (cards.length !== box.children.length || cards.some((card, at) => box.children[at] !== card)) {
      const focused = document.activeElement?.dataset?.act;
      const of = document.activeElement?.closest(".training")?.dataset.model;
      box.replaceChildren(...cards);
      if (focused) [...box.children].find((one) => one.dataset.model === of)?.querySelector(`[data-act='${focused}']`)?.focus();
    }
  }

  card(one, before) {
    const card = made("article", "", { className: "training" });
    Object.assign(card.dataset, { model: one.model, state: one.state, epochs: String(one.rows.length) });
    const head = made("header");
    head.append(made("h3", one.model), made("span", one.state, { className: `state ${one.state}` }));
    const told = [`epoch ${one.rows.length}${one.epochs ? ` of ${one.epochs}` : ""}`];
    const last = one.rows.at(-1);
    if (last?.validation_dice != null) told.push(`Dice ${last.validation_dice.toFixed(3)}`);
    if (one.left_s != null) told.push(`about ${time(one.left_s)} left`);
    head.append(made("span", told.join(" · "), { className: "said" }));
    const act = (id, text, what) => {
      const button = made("button", text, { type: "button" });
      button.dataset.act = id;
      button.addEventListener("click", () => this.bench.trying(what));
      head.append(button);
    };
    const going = ["waiting", "running", "stopping"].includes(one.state);
    if (going) act("stop", one.state === "stopping" ? "End at once" : "Stop", async () => this.after(await post(`api/trainings/${one.job}/stop`, {})));
    else if (one.state !== "done") act("again", "Go on", async () => this.after(await post(`api/trainings/${one.job}/again`, {})));
    if (one.there) {
      act("look", "Look at slices", () => this.look(`${one.model}.safetensors`));
      act("predict", "Predict…", () => this.bench.sections.run.predict(`${one.model}.safetensors`));
    }
    card.append(head);
    if (one.why) card.append(made("p", one.why, { className: "fault log" }));
    if (one.rows.length) card.append(losses(one.rows, one.epochs));
    if (one.picture) {
      const alt = "Slices that were kept for validation: above with what is annotated, below with what the network answers";
      card.append(made("img", "", { src: address(`api/trainings/${one.job}/picture?${one.picture}`), alt, title: alt }));
    }
    const log = one.why && one.log.endsWith(one.why) ? one.log.slice(0, -one.why.length).trimEnd() : one.log; // it is said above
    if (log) card.append(made("pre", log, { className: "log" }));
    const details = made("details", "", { open: before?.querySelector("details")?.open ?? false });
    details.append(made("summary", "As commands"));
    const [train, again] = one.commands;
    details.append(made("p", "Train, or go on, with what was annotated and chosen when it began:", { className: "small" }), made("pre", train));
    details.append(made("p", "Export what is annotated now in its place: recipe.yaml keeps what was chosen, the new train.yaml lists the new samples:", { className: "small" }), made("pre", again));
    card.append(details);
    return card;
  }

  after() {
    return this.watch();
  }

  // Over slices of the tomogram that was shown last.
  look(name) {
    this.bench.wanted = name;
    this.bench.show(this.bench.number ?? 0);
  }
}
