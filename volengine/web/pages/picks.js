// Picks: the tables of a project, looked at as a grid of pictures or on slices. All that is done is an operation of the
// table's curation, one after the other; the table itself is never changed.
import { short } from "./contrast.js";
import { Keys } from "./keys.js";
import { PickGrid } from "./pick_grid.js";
import { PickSlice } from "./pick_slice.js";
import { get, post, quoted, typed } from "./server.js";

const $ = (id) => document.getElementById(id);
const SHOWN = [["all", "all"], ["undecided", "not decided"], ["accepted", "accepted"], ["rejected", "rejected"]];
const POLL_MS = 1500;
const WORDS = { accepted: "✓ accepted", rejected: "✕ rejected", undecided: "not decided", deleted: "deleted" };

function made(tag, text = "", more = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  return Object.assign(element, more);
}

function fill(id, options) {
  const before = $(id).value;
  $(id).replaceChildren(...options.map(([value, text]) => made("option", text, { value })));
  if (options.some(([value]) => value === before)) $(id).value = before;
}

export class Picks {
  constructor(bench) {
    this.bench = bench;
    this.queue = Promise.resolve();
    this.waiting = 0;
    this.sent = 0;
    this.state = null;
    this.grid = new PickGrid(this);
    this.slice = new PickSlice(this);
    this.sliced = false;
    this.connect();
    this.keys();
    this.said();
    this.poll();
  }

  get path() {
    return this.table === undefined ? "" : `api/picks/${this.table}`;
  }

  looks() {
    return { axis: $("pkAcross").value, side: Number($("pkSide").value), mean: Number($("pkMean").value) };
  }

  radius() {
    return 10 * Number($("pkRadius").value); // angstrom
  }

  query() {
    const query = new URLSearchParams({ show: $("pkShow").value || "all", order: $("pkDown").checked ? "down" : "up" });
    if ($("pkSort").value) query.append("sort", $("pkSort").value);
    if ($("pkTomogram").value) query.append("tomogram", $("pkTomogram").value);
    return query;
  }

  // -- the table --------------------------------------------------------------------------------------------

  async refresh() {
    if (!this.state) $("pkGrid").replaceChildren(); // what it says is of the last time
    const tables = await get("api/picks");
    fill("pkTable", tables.map((one) => [String(one.number), one.name]));
    if (!tables.length) {
      $("pkGrid").replaceChildren(made("p", "This project has no tables of picks.", { className: "pk-none" }));
      return;
    }
    if (this.table === undefined || String(this.table) !== $("pkTable").value) await this.open(Number($("pkTable").value));
    else await this.again();
  }

  async open(number) {
    this.table = number;
    this.state = null;
    this.grid.start = 0;
    this.slice.chosen = null;
    for (const id of ["pkTomogram", "pkShow", "pkSort"]) $(id).replaceChildren();
    await this.readState();
    if (this.state.changed) return;
    const weight = this.state.columns.find((one) => /weight|score/i.test(one));
    if (weight) $("pkSort").value = weight;
    $("pkName").value = this.state.name.replace(/^.*\//, "");
    await this.again(false);
    document.body.dataset.table = this.state.name;
  }

  async again(state = true) {
    if (state) await this.readState();
    if (!this.state.changed) await Promise.all([this.grid.load(), this.histogram(), this.sliced ? this.onSlice() : null]);
  }

  getState() {
    return get(`${this.path}?user=${encodeURIComponent(this.bench.user())}`);
  }

  async readState() {
    this.take(await this.getState());
  }

  // What others say of the picks is seen within two seconds; so is a table that was written anew.
  async poll() {
    const next = () => setTimeout(() => this.poll(), POLL_MS);
    if (this.bench.section !== "picks" || document.hidden || !this.state || this.waiting) return next();
    const { path, sent } = this;
    try {
      const state = await this.getState();
      if (this.lost) this.bench.say("");
      this.lost = false;
      if (path === this.path && sent === this.sent && this.state && JSON.stringify(state) !== JSON.stringify(this.state)) {
        this.take(state);
        if (!state.changed) await Promise.all([this.grid.load(true), this.histogram(), this.sliced ? this.slice.refresh() : null]);
      }
    } catch (error) {
      this.lost = true;
      this.bench.say(error.message, true);
    }
    return next();
  }

  take(state) {
    this.state = state;
    $("pkChanged").hidden = !state.changed;
    $("pkChangedSaid").textContent = state.changed;
    if (state.changed) {
      this.grid.cells = [];
      $("pkGrid").replaceChildren(made("p", "Nothing is shown until it is carried over.", { className: "pk-none" }));
      this.told();
      return;
    }
    fill("pkTomogram", [["", "all tomograms"], ...state.tomograms.map((one) => [one.name, `${one.name} (${one.count})`])]);
    fill("pkShow", [...SHOWN, ...Object.keys(state.tags).map((tag) => [`tag:${tag}`, `tag ${tag}`])]);
    fill("pkSort", state.columns.map((name) => [name, name]));
    $("pkNotes").replaceChildren(...new Set(state.tomograms.flatMap((one) => one.notes)).values().map((note) => made("li", note)));
    $("pkSaid").textContent = [state.feature, `version ${state.version}`].filter(Boolean).join(" · ");
    $("pkAcross").querySelector("[value=own]").disabled = !state.oriented;
    $("pkCounts").replaceChildren(...Object.entries(state.counts).flatMap(([name, count]) => [made("span", WORDS[name]), made("span", String(count))]));
    this.listTags();
    $("pkUndo").disabled = !state.undo || !this.bench.facts.writable;
    $("pkRedo").disabled = !state.redo || !this.bench.facts.writable;
    document.body.dataset.picksVersion = String(state.version);
    this.told();
  }

  // -- what is done -----------------------------------------------------------------------------------------

  get chosen() {
    return this.sliced ? (this.slice.chosen === null || this.slice.chosen === undefined ? [] : [this.slice.chosen]) : this.grid.ids;
  }

  told() {
    const count = this.chosen.length;
    $("pkChosen").textContent = count ? `${count} ${count === 1 ? "pick" : "picks"} chosen` : "Choose picks: a click, Shift for a range, Ctrl for more.";
    for (const id of ["pkAccept", "pkReject", "pkUndecide", "pkDelete"]) $(id).disabled = !count || !this.bench.facts.writable;
  }

  // Operations go one after the other. Those on chosen picks are shown at once on their cells.
  send(operation) {
    if (!this.state || this.state.changed) return undefined;
    const asked = { ...operation };
    const needs = ["accept", "reject", "undecide", "delete", "tag", "untag"].includes(asked.op) && !asked.where && !asked.ids;
    if (needs) asked.ids = this.chosen;
    if (needs && !asked.ids.length) return this.bench.say("Choose picks first.", true);
    const { path } = this;
    const { digest } = this.state;
    const user = this.bench.user();
    this.waiting += 1;
    this.sent += 1;
    document.body.dataset.picksWaiting = String(this.waiting);
    const work = async () => {
      try {
        const done = await post(`${path}/operations`, { operation: asked, digest, user });
        if (path === this.path) await this.answered(asked, done, user);
        if (document.body.dataset.state === "wrong") this.bench.say("");
      } catch (error) {
        this.bench.say(error.message, true);
        if (path === this.path) await this.bench.trying(() => this.slice.refresh());
      } finally {
        this.waiting -= 1;
        document.body.dataset.picksWaiting = String(this.waiting);
      }
    };
    this.queue = this.queue.then(work);
    return this.queue;
  }

  async answered(asked, done, user) {
    const local = asked.ids && asked.op !== "delete";
    if (local) this.grid.done(asked, asked.ids);
    if (asked.op === "add") this.slice.chosen = done.ids[0];
    this.command(done.operation, user);
    await Promise.all([this.readState(), this.sliced ? this.slice.refresh() : null, local ? null : this.grid.load()]);
    await this.histogram();
  }

  // The same as a command; positions are those of the table, as the server has found them.
  command(operation, user) {
    const words = `volengine curate do ${quoted(this.state.file)} --user ${quoted(user || this.bench.facts.user)}`;
    $("pkCommand").textContent = `printf '%s\\n' ${quoted(JSON.stringify(operation))} | ${words}`;
  }

  async carry() {
    const within = typed($("pkWithin"));
    const made = await post(`${this.path}/carry`, { within_nm: within, user: this.bench.user() });
    $("pkCommand").textContent = `volengine curate carry ${quoted(this.state.file)} --within-nm ${within}`;
    await this.open(this.table);
    this.bench.say(`Carried over for ${made.found}, lost for ${made.lost}. ${made.notes.join(" ")}`);
  }

  async write() {
    const asked = { name: $("pkName").value.trim(), keep: $("pkKeep").value, poses: $("pkPoses").value, overwrite: $("pkOverwrite").checked };
    $("pkWritten").textContent = "Writing …";
    try {
      const done = await post(`${this.path}/write`, asked);
      const counts = Object.entries(done.counts).map(([name, count]) => `${name}: ${count}`);
      $("pkWritten").textContent = [...done.files, ...counts, ...done.notes].join("\n");
      $("pkCommand").textContent = [
        `volengine curate write ${quoted(this.state.file)}`,
        `--out ${quoted(this.state.file.replace(/[^/]*$/, asked.name))} --keep ${asked.keep} --poses ${asked.poses}`,
        asked.overwrite ? "--overwrite" : "",
      ].join(" ").trim();
      await this.readState();
    } catch (error) {
      $("pkWritten").textContent = "";
      throw error;
    }
  }

  // -- tags and threshold -----------------------------------------------------------------------------------

  listTags() {
    this.tags = Object.keys(this.state.tags);
    $("pkTags").replaceChildren(
      ...this.tags.map((tag, at) => {
        const button = made("button", "", { type: "button", title: "Tag the chosen picks, or take the tag away" });
        button.append(made("span", tag), made("span", `${this.state.tags[tag]}${at < 9 ? "  ·  " : ""}`));
        if (at < 9) button.append(made("kbd", String(at + 1)));
        button.addEventListener("click", () => this.tag(tag));
        const item = made("li");
        item.append(button);
        return item;
      }),
    );
  }

  tag(tag) {
    const chosen = new Set(this.chosen);
    const cells = this.grid.cells.filter((one) => chosen.has(one.pick.id));
    const all = !this.sliced && cells.length > 0 && cells.every((one) => one.pick.tags.includes(tag));
    this.send({ op: all ? "untag" : "tag", tag });
  }

  async histogram() {
    const column = $("pkSort").value;
    if (!column) return;
    const found = await get(`${this.path}/histogram?column=${encodeURIComponent(column)}`);
    this.range = found;
    const canvas = $("pkHistogram");
    const context = canvas.getContext("2d");
    const { accepted, rejected, undecided } = found.counts;
    const most = Math.max(1, ...accepted.map((count, at) => count + rejected[at] + undecided[at]));
    const width = canvas.width / accepted.length;
    context.clearRect(0, 0, canvas.width, canvas.height);
    accepted.forEach((_, at) => {
      let bottom = canvas.height;
      for (const [counts, colour] of [[accepted, "#1a9e77"], [undecided, "#8d9aa6"], [rejected, "#d55e00"]]) {
        const height = (canvas.height - 2) * Math.sqrt(counts[at] / most) * (counts[at] ? 1 : 0);
        context.fillStyle = colour;
        context.fillRect(at * width, bottom - height, Math.max(1, width - 1), height);
        bottom -= height;
      }
    });
    this.thresholdSaid();
  }

  get threshold() {
    const { low, high } = this.range ?? { low: 0, high: 1 };
    return Number((low + ((high - low) * Number($("pkThreshold").value)) / 1000).toPrecision(5));
  }

  thresholdSaid() {
    $("pkThresholdSaid").textContent = short(this.threshold);
  }

  // -- views ------------------------------------------------------------------------------------------------

  async onSlice(place) {
    const wanted = $("pkTomogram").value;
    const there = this.state.tomograms.filter((one) => one.number !== null);
    const one = there.find((it) => it.name === wanted) ?? there.find((it) => it.number === this.slice.number) ?? there[0];
    if (!one) return this.bench.say("The project has no tomogram of this table; there is nothing to lay its picks on.", true);
    return this.slice.show(one.number, place);
  }

  async layout(sliced) {
    this.sliced = sliced;
    $("pkStage").hidden = $("pkSliceBar").hidden = !sliced;
    $("pkGrid").hidden = $("pkGridBar").hidden = sliced;
    $("pkAsSlice").setAttribute("aria-pressed", String(sliced));
    $("pkAsGrid").setAttribute("aria-pressed", String(!sliced));
    if (sliced && this.state && !this.state.changed) await this.onSlice();
    else if (!sliced && this.state && !this.state.changed) await this.grid.load();
    this.told();
  }

  toSlice(pick) {
    this.bench.trying(async () => {
      if (pick.number === null) throw new Error("The project has no tomogram of this pick.");
      if ($("pkTomogram").value) $("pkTomogram").value = pick.tomogram;
      this.sliced = true;
      await this.slice.show(pick.number);
      const found = this.slice.picks.find((one) => one.id === pick.id);
      this.slice.choose(pick.id);
      await this.layout(true);
      if (found) await this.slice.show(pick.number, found.place);
    });
  }

  said() {
    $("pkSideSaid").textContent = `${$("pkSide").value} vox`;
    $("pkMeanSaid").textContent = $("pkMean").value;
    $("pkRadiusSaid").textContent = `${$("pkRadius").value} nm`;
  }

  connect() {
    const on = (id, event, act) => $(id).addEventListener(event, () => this.bench.trying(act));
    on("pkTable", "change", () => this.open(Number($("pkTable").value)));
    for (const id of ["pkTomogram", "pkShow", "pkSort", "pkDown"]) {
      on(id, "change", () => {
        this.grid.start = 0;
        return this.again(false);
      });
    }
    for (const id of ["pkSide", "pkMean", "pkRadius"]) on(id, "input", () => (this.said(), this.slice.view.draw()));
    for (const id of ["pkSide", "pkMean", "pkAcross"]) on(id, "change", () => (this.sliced ? this.slice.want() : this.grid.pictures()));
    on("pkAsGrid", "click", () => this.layout(false));
    on("pkAsSlice", "click", () => this.layout(true));
    for (const [id, op] of [["pkAccept", "accept"], ["pkReject", "reject"], ["pkUndecide", "undecide"], ["pkDelete", "delete"], ["pkUndo", "undo"], ["pkRedo", "redo"]]) {
      on(id, "click", () => this.send({ op }));
    }
    on("pkThreshold", "input", () => this.thresholdSaid());
    on("pkRejectBelow", "click", () => this.send({ op: "reject", where: `\`${$("pkSort").value}\` < ${this.threshold}` }));
    on("pkAcceptAbove", "click", () => this.send({ op: "accept", where: `\`${$("pkSort").value}\` >= ${this.threshold}` }));
    on("pkCarry", "click", () => this.carry());
    $("pkAddTag").addEventListener("submit", (event) => {
      event.preventDefault();
      const tag = $("pkNewTag").value.trim();
      if (tag) this.send({ op: "tag", tag })?.then(() => ($("pkNewTag").value = ""));
    });
    $("pkWrite").addEventListener("submit", (event) => {
      event.preventDefault();
      this.bench.trying(() => this.write());
    });
  }

  keys() {
    const arrows = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"];
    const alt = [...arrows, "PageUp", "PageDown"].map((key) => `Alt+${key}`);
    const move = (event) => {
      if (!this.sliced) this.grid.move(event.key, event.shiftKey);
      else if (/Left|Right/.test(event.key)) this.slice.go(this.slice.index + (event.key === "ArrowLeft" ? -1 : 1));
      else this.slice.next(event.key === "ArrowUp" ? -1 : 1);
    };
    const page = (event) => {
      const step = event.key === "PageUp" ? -1 : 1;
      if (this.sliced) this.slice.go(this.slice.index + 5 * step);
      else this.grid.turn(step);
    };
    new Keys(
      [
        { keys: ["a"], what: "Accept", act: () => this.send({ op: "accept" }) },
        { keys: ["r", "x"], what: "Reject", act: () => this.send({ op: "reject" }) },
        { keys: ["u"], what: "Undecide", act: () => this.send({ op: "undecide" }) },
        { keys: [..."123456789"], shown: ["1", "…", "9"], what: "Tag of this number", act: (event) => this.tags?.[event.key - 1] && this.tag(this.tags[event.key - 1]) },
        { keys: ["Delete"], what: "Delete", act: () => this.send({ op: "delete" }) },
        { keys: [...arrows, ...arrows.map((key) => `Shift+${key}`)], shown: ["arrows", "Shift"], what: "Next pick, range", act: move },
        { keys: ["PageUp", "PageDown"], what: "Page; five slices", act: page },
        { keys: ["Ctrl+a"], what: "Choose the page", act: () => this.grid.all() },
        { keys: ["Enter"], what: "On the slice", act: () => !this.sliced && this.grid.cells[this.grid.at] && this.toSlice(this.grid.cells[this.grid.at].pick) },
        { keys: ["g", "s"], what: "Grid, slice", act: (event) => this.bench.trying(() => this.layout(event.key === "s")) },
        { keys: ["p"], what: "Add in the middle", act: () => this.sliced && this.slice.addMiddle() },
        { keys: alt, shown: ["Alt + arrows"], what: "Move the pick", act: (event) => this.sliced && this.slice.nudge(event.key, 1) },
        { keys: ["+", "=", "-"], shown: ["+", "-"], what: "Zoom", act: (event) => this.slice.view.zoom(event.key === "-" ? 0.8 : 1.25) },
        { keys: ["0"], what: "", act: () => this.slice.view.fit() },
        { keys: ["Ctrl+z"], what: "Undo own", act: () => this.send({ op: "undo" }) },
        { keys: ["Ctrl+y", "Ctrl+Shift+z"], shown: ["Ctrl+y"], what: "Redo own", act: () => this.send({ op: "redo" }) },
      ],
      () => this.bench.section === "picks",
      "Picks",
    ).list($("pkKeys"));
  }
}
