// The grid of picks: a page of pictures at a time; several can be chosen, and what is done is done to these.
import { bytes, get } from "./server.js";
import { short } from "./contrast.js";

const $ = (id) => document.getElementById(id);
const PAGE = 60;
const MARKS = { 1: "✓", "-1": "✕", 0: "" };

function made(tag, text = "", more = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  return Object.assign(element, more);
}

export class PickGrid {
  // page: the section; it knows the table and does what is asked
  constructor(page) {
    this.page = page;
    this.start = 0;
    this.total = 0;
    this.cells = [];
    this.at = 0;
    $("pkBefore").addEventListener("click", () => this.turn(-1));
    $("pkAfter").addEventListener("click", () => this.turn(1));
  }

  get ids() {
    return this.cells.filter((one) => one.chosen).map((one) => one.pick.id);
  }

  turn(step) {
    const start = this.start + step * PAGE;
    if (start < 0 || start >= this.total) return;
    this.start = start;
    this.page.bench.trying(() => this.load());
  }

  // chosen: whether picks that were chosen stay so, where others have changed something.
  async load(chosen = false) {
    const query = this.page.query();
    query.append("start", this.start);
    query.append("count", PAGE);
    const token = (this.token = {});
    const found = await get(`${this.page.path}/grid?${query}`);
    if (token !== this.token) return;
    if (found.total && this.start >= found.total) {
      this.start = 0;
      return this.load(chosen);
    }
    this.total = found.total;
    const same = (pick, at) => pick.id === this.cells[at].pick.id && pick.moved === this.cells[at].pick.moved;
    if (chosen && found.picks.length === this.cells.length && found.picks.every(same)) {
      found.picks.forEach((pick, at) => this.say(Object.assign(this.cells[at], { pick }))); // the same cells: focus stays
      return this.pictures(token);
    }
    const before = new Set(chosen ? this.ids : []);
    this.at = 0;
    this.cells = found.picks.map((pick, at) => this.cell(pick, at, before.has(pick.id)));
    const none = made("p", "No picks to show.", { className: "pk-none" });
    $("pkGrid").replaceChildren(...(this.cells.length ? this.cells.map((one) => one.element) : [none]));
    $("pkPage").textContent = found.total ? `${found.start + 1} to ${found.start + this.cells.length} of ${found.total}` : "";
    $("pkBefore").disabled = this.start === 0;
    $("pkAfter").disabled = this.start + PAGE >= found.total;
    this.page.told();
    await this.pictures(token);
    return undefined;
  }

  async pictures(token = this.token) {
    const { axis, side, mean } = this.page.looks();
    const ids = this.cells.map((one) => one.pick.id);
    if (!ids.length) return;
    const { data } = await bytes(`${this.page.path}/pictures?ids=${ids.join(",")}&axis=${axis}&side=${side}&mean=${mean}`);
    if (token !== this.token) return;
    const grey = new Uint8Array(data);
    this.cells.forEach(({ canvas }, number) => {
      canvas.width = canvas.height = side;
      const image = new ImageData(side, side);
      const pixels = new Uint32Array(image.data.buffer);
      for (let at = 0; at < pixels.length; at++) pixels[at] = 0xff000000 | (grey[number * pixels.length + at] * 0x010101);
      canvas.getContext("2d").putImageData(image, 0, 0);
    });
    document.body.dataset.pictures = String(this.cells.length);
  }

  cell(pick, at, chosen) {
    const element = made("div", "", { className: "pk-cell", tabIndex: at ? -1 : 0 });
    element.setAttribute("role", "option");
    const canvas = made("canvas");
    const mark = made("span", "", { className: "pk-mark" });
    const tags = made("span", "", { className: "pk-tags" });
    const words = made("div", "", { className: "pk-words" });
    const hand = pick.added ? "added" : pick.moved ? "moved" : "";
    words.append(made("span", hand || `#${pick.id}`), made("span", pick.value === null ? "" : short(pick.value)));
    element.title = pick.tomogram;
    element.append(canvas, mark, tags, words);
    const cell = { pick, element, canvas, mark, tags, chosen };
    element.addEventListener("click", (event) => this.click(at, event));
    element.addEventListener("dblclick", () => this.page.toSlice(pick));
    element.addEventListener("focus", () => (this.at = at));
    this.say(cell);
    return cell;
  }

  // What is said of a pick, on its cell.
  say(cell) {
    const { pick, element, mark, tags } = cell;
    element.dataset.said = String(pick.accepted);
    element.dataset.id = String(pick.id);
    mark.textContent = MARKS[pick.accepted];
    tags.replaceChildren(...pick.tags.map((tag) => made("span", tag)));
    element.setAttribute("aria-selected", String(cell.chosen));
    const words = { 1: "accepted", "-1": "rejected", 0: "not decided" }[pick.accepted];
    element.setAttribute("aria-label", [`Pick ${pick.id} of ${pick.tomogram}`, words, ...pick.tags].join(", "));
  }

  // An operation was done to picks: what their cells say.
  done({ op, tag }, ids) {
    const which = new Set(ids);
    for (const cell of this.cells.filter((one) => which.has(one.pick.id))) {
      const { pick } = cell;
      if (op in { accept: 1, reject: 1, undecide: 1 }) pick.accepted = { accept: 1, reject: -1, undecide: 0 }[op];
      if (op === "tag" && !pick.tags.includes(tag)) pick.tags.push(tag);
      if (op === "untag") pick.tags = pick.tags.filter((one) => one !== tag);
      this.say(cell);
    }
  }

  click(at, event) {
    const what = $("pkClick").value;
    if (event.shiftKey) {
      this.choose(Math.min(this.anchor ?? at, at), Math.max(this.anchor ?? at, at));
    } else if (event.ctrlKey || event.metaKey) {
      this.cells[at].chosen = !this.cells[at].chosen;
      this.anchor = at;
    } else {
      this.choose(at, at);
      this.anchor = at;
    }
    this.focus(at);
    this.shown();
    if (what !== "choose" && !event.shiftKey) this.page.send({ op: this.cells[at].pick.accepted === { accept: 1, reject: -1 }[what] ? "undecide" : what });
  }

  choose(from, to) {
    this.cells.forEach((one, number) => (one.chosen = number >= from && number <= to));
  }

  all() {
    this.choose(0, this.cells.length);
    this.shown();
  }

  shown() {
    this.cells.forEach((one) => one.element.setAttribute("aria-selected", String(one.chosen)));
    this.page.told();
  }

  focus(at) {
    this.cells.forEach((one, number) => (one.element.tabIndex = number === at ? 0 : -1));
    this.cells[at].element.focus();
    this.at = at;
  }

  // The pick of the keyboard: the arrows move it, with Shift they choose a range.
  move(key, range) {
    if (!this.cells.length) return;
    const across = getComputedStyle($("pkGrid")).gridTemplateColumns.split(" ").length;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across }[key];
    const from = this.ids.length ? this.at : -by;
    const to = Math.max(0, Math.min(this.cells.length - 1, this.ids.length ? from + by : 0));
    if (range) this.choose(Math.min(this.anchor ?? from, to), Math.max(this.anchor ?? from, to));
    else {
      this.choose(to, to);
      this.anchor = to;
    }
    this.focus(to);
    this.shown();
  }
}
