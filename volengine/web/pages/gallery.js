// The gallery: a row (or card) for each tomogram, made once; facts come in batches, thumbnails as one scrolls.
import { Columns, compared, made, natural } from "./gallery_columns.js";
import { address, bytes, get, post } from "./server.js";

const $ = (id) => document.getElementById(id);
const BATCH = 50;
const sum = (values) => values.reduce((all, one) => all + one, 0);

export class Gallery {
  constructor(bench) {
    this.bench = bench;
    this.order = 1;
    this.last = null;
    this.listed = {};
    this.items = bench.facts.tomograms.map((name, number) => this.item(name, number));
    this.columns = new Columns(this);
    this.columns.lay();
    $("rows").replaceChildren(...this.items.map((one) => one.row));
    $("search").addEventListener("input", () => this.filter());
    $("pictured").addEventListener("change", () => this.picture($("pictured").value));
    $("lists").addEventListener("change", () => this.filter());
    $("sort").addEventListener("change", () => this.sort());
    $("order").addEventListener("click", () => this.turn());
    $("asRows").addEventListener("click", () => this.layout(false));
    $("asCards").addEventListener("click", () => this.layout(true));
    $("selectAll").addEventListener("click", () => this.choose(this.items.filter((one) => !one.row.hidden), true));
    $("selectNone").addEventListener("click", () => this.choose(this.items, false));
    $("saveList").addEventListener("click", () => this.askList());
    $("keepList").addEventListener("click", () => this.keepList());
    $("keepNote").addEventListener("click", () => this.keepNote());
    this.fillSort();
    this.filter();
    this.count();
  }

  item(name, number) {
    const one = { name, number, chosen: false, picks: {}, annotated: {}, ...(this.bench.facts.notes[name] ?? { tags: [], note: "" }) };
    const row = made("div", "", { className: "row" });
    row.setAttribute("role", "row");
    one.box = made("input", "", { type: "checkbox", ariaLabel: `Select ${name}` });
    one.box.addEventListener("click", (event) => this.tick(one, event.shiftKey));
    const image = made("img", "", { loading: "lazy", decoding: "async", alt: "", width: 92, height: 66 });
    image.addEventListener("error", () => { if (!this.plain(one)) this.unseen(one, true); });
    one.image = image;
    one.why = made("span", "no picture", { className: "noPicture", hidden: true });
    this.plain(one);
    const picture = made("div", "", { className: "picture" });
    picture.append(image, one.why);
    picture.addEventListener("click", () => this.bench.show(number));
    const title = made("button", name, { type: "button", className: "title", title: "Annotate" });
    title.addEventListener("click", () => this.bench.show(number));
    const cell = (className = "cell") => made("div", "", { className });
    one.cells = { shape: cell("cell shape"), voxel: cell(), picks: cell("cell wide"), slices: cell("cell wide"), tags: cell("cell wide") };
    const note = made("button", "✎", { type: "button", title: "Tags and note", className: "edit", ariaLabel: `Tags and note of ${name}` });
    note.addEventListener("click", () => this.askNote(one));
    one.edit = note;
    const head = made("div", "", { className: "cell title-cell" });
    head.append(title);
    one.fault = made("div", "", { className: "fault" });
    const select = made("div");
    select.append(one.box);
    row.append(select, picture, head, ...Object.values(one.cells), note, one.fault);
    for (const child of row.children) child.setAttribute("role", "cell");
    note.removeAttribute("role");
    one.row = row;
    this.fillTags(one);
    return one;
  }

  // -- facts ------------------------------------------------------------------------------------------------

  // Facts of all tomograms, again whenever the gallery is opened: others draw meanwhile.
  async refresh() {
    if (this.filling) return;
    this.filling = true;
    try {
      await this.refreshLists();
      const { tomograms } = await get("api/project");
      for (const name of tomograms.slice(this.items.length)) { // that have come since the page was opened
        this.items.push(this.item(name, this.items.length));
        this.bench.facts.tomograms.push(name);
      }
      for (let start = 0; start < this.items.length; start += BATCH) {
        const facts = await get(`api/facts?start=${start}&count=${BATCH}`);
        for (const one of facts) this.fill(Object.assign(this.items[one.number], one));
        if (this.bench.section !== "gallery") break;
      }
      this.columns.learn(this.items);
      this.fillUnread(await get("api/unread"));
      this.fillPictured();
      this.fillSort();
      this.sort();
    } finally {
      this.filling = false;
    }
    document.body.dataset.facts = "all";
  }

  async refreshLists() {
    this.listed = await get("api/lists");
    const chosen = $("lists").value;
    $("lists").replaceChildren(
      made("option", "all", { value: "" }),
      ...Object.keys(this.listed).map((name) => made("option", `${name} (${this.listed[name].length})`, { value: name })),
    );
    $("lists").value = chosen in this.listed ? chosen : "";
  }

  fill(one) {
    const { cells } = one;
    cells.shape.textContent = one.shape ? one.shape.join(" × ") : "";
    cells.voxel.textContent = one.voxel_size ? `${this.size(one.voxel_size)} Å` : "";
    cells.picks.replaceChildren(...Object.entries(one.picks).map(([name, count]) => made("span", `${name} ${count}${one.tables?.[name] ? " (newest table)" : ""}`, { className: "amount", title: one.tables?.[name] ?? "" })));
    const said = Object.entries(one.annotated).map(([name, counts]) => {
      const parts = [["slices", "slice"], ["boxes", "box"], ["points", "point"]]
        .filter(([key]) => counts[key])
        .map(([key, single]) => `${counts[key]} ${counts[key] === 1 ? single : key}`);
      return made("span", `${name}: ${parts.join(", ") || "nothing yet"}`, { className: "amount" });
    });
    one.fault.textContent = one.error ?? ""; // below all columns: they are narrow, and can be hidden
    cells.slices.replaceChildren(...said);
  }

  // Files whose numbers are missing in the columns.
  fillUnread(unread) {
    $("unread").hidden = !unread.length;
    $("unread").querySelector("summary").textContent = `${unread.length} ${unread.length === 1 ? "file" : "files"} of the project cannot be read`;
    $("unread").querySelector("ul").replaceChildren(...unread.slice(0, 100).map((text) => made("li", text, { className: "fault" })));
  }

  size(voxel) {
    const texts = voxel.map((value) => Number(value.toFixed(3)).toString());
    return new Set(texts).size === 1 ? texts[0] : texts.join(" × ");
  }

  fillTags(one) {
    one.cells.tags.replaceChildren(
      ...one.tags.map((tag) => made("span", tag, { className: "tag" })),
      ...(one.note ? [made("div", one.note, { className: "remark", title: one.note })] : []),
    );
  }

  // -- pictures ---------------------------------------------------------------------------------------------

  fillPictured() {
    const features = [...new Set(this.items.flatMap((one) => one.features ?? []))].sort(natural.compare);
    const chosen = this.bench.kept("gallery picture") ?? "";
    $("pictured").replaceChildren(made("option", "tomogram", { value: "" }), ...features.map((name) => made("option", name, { value: name })));
    $("pictured").value = features.includes(chosen) ? chosen : "";
    this.picture($("pictured").value);
  }

  // Thumbnails with a feature over them, of the tomograms that have a prediction of it.
  picture(feature) {
    this.bench.keep("gallery picture", feature);
    for (const one of this.items) {
      const name = one.features?.includes(feature) ? feature : "";
      if (one.pictured === name) continue;
      this.plain(one);
      this.unseen(one, false);
      if (name) one.image.src = address(`api/tomograms/${one.number}/thumbnail?feature=${encodeURIComponent(name)}`);
      one.pictured = name;
    }
  }

  // Without a feature; whether that is another picture than before.
  plain(one) {
    const wanted = address(`api/tomograms/${one.number}/thumbnail`);
    const other = one.image.src !== wanted;
    if (other) one.image.src = wanted;
    one.pictured = "";
    return other;
  }

  // A plain place instead of a picture that cannot be made, and why; the server is asked, as an image tells nothing.
  async unseen(one, hidden) {
    one.image.hidden = hidden;
    one.why.hidden = !hidden;
    if (!hidden) return;
    const say = (why) => Object.assign(one.why, { role: "img", ariaLabel: `No picture of ${one.name}: ${why}`, title: why });
    say(one.error ?? "it cannot be read");
    await bytes(`api/tomograms/${one.number}/thumbnail`).then(() => {}, (error) => say(error.message));
  }

  // -- sorting and searching --------------------------------------------------------------------------------

  fillSort() {
    const chosen = $("sort").value || "name";
    const options = [["name", "name"], ["shape", "size"], ["voxel", "voxel size"], ["picks", "picks"], ["slices", "slices drawn on"], ["boxes", "boxes"], ["points", "points"], ["tags", "tags"]];
    for (const key of this.columns.keys) options.push([key, key]);
    $("sort").replaceChildren(...options.map(([value, text]) => made("option", text, { value })));
    $("sort").value = chosen;
  }

  value(one, key) {
    const drawn = Object.values(one.annotated);
    switch (key) {
      case "shape": return one.shape ? one.shape.reduce((a, b) => a * b, 1) : 0;
      case "voxel": return one.voxel_size ? one.voxel_size[0] : 0;
      case "picks": return sum(Object.values(one.picks));
      case "slices": case "boxes": case "points": return sum(drawn.map((counts) => counts[key]));
      case "z": case "y": case "x": return one.shape ? one.shape["zyx".indexOf(key)] : 0;
      case "tags": return one.tags.length;
      default: return one.values?.[key] ?? one.picks[key];
    }
  }

  sortBy(key) {
    if ($("sort").value === key) return this.turn();
    $("sort").value = key;
    return this.sort();
  }

  sort() {
    const key = $("sort").value;
    const byName = (a, b) => natural.compare(a.name, b.name) || a.number - b.number;
    const by = (a, b) => {
      if (key === "name") return this.order * byName(a, b);
      const [mine, other] = [this.value(a, key), this.value(b, key)];
      if (mine === undefined || other === undefined) return (mine === undefined) - (other === undefined) || byName(a, b);
      return this.order * (compared(mine, other) || byName(a, b)); // what has no value stays at the end
    };
    const sorted = [...this.items].sort(by);
    const same = sorted.every((one, at) => $("rows").children[at] === one.row);
    if (!same) $("rows").replaceChildren(...sorted.map((one) => one.row));
    this.sorted = sorted;
    this.filter();
  }

  turn() {
    this.order = -this.order;
    $("order").textContent = this.order > 0 ? "↓" : "↑";
    $("order").setAttribute("aria-pressed", String(this.order < 0));
    this.sort();
  }

  // Words of a name, tag or note; tag:good; numbers of a column or of the picks of a feature: ribosome>20, boxes=0,
  // ribosome.volume_nm3>1e5.
  filter() {
    const tests = $("search").value.trim().toLowerCase().split(/\s+/).filter(Boolean).map((term) => this.test(term));
    const listed = $("lists").value ? new Set(this.listed[$("lists").value] ?? []) : null;
    let shown = 0;
    for (const one of this.items) {
      const fits = tests.every((test) => test(one)) && (!listed || listed.has(one.number));
      if (one.row.hidden === fits) one.row.hidden = !fits;
      shown += fits;
    }
    const all = `${this.items.length} tomogram${this.items.length === 1 ? "" : "s"}`;
    $("count").textContent = shown === this.items.length ? all : `${shown} of ${all}`;
  }

  test(term) {
    const column = this.columns.test(term);
    if (column) return column;
    const compared = /^([^<>=]+)(<=|>=|<|>|=)(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/.exec(term);
    if (compared) {
      const [, key, sign, text] = compared;
      const number = Number(text);
      return (one) => {
        const feature = Object.keys(one.picks).find((name) => name.toLowerCase() === key);
        const value = this.value(one, feature ?? key) ?? 0;
        return { "<": value < number, ">": value > number, "=": value === number, "<=": value <= number, ">=": value >= number }[sign];
      };
    }
    if (term.startsWith("tag:")) return (one) => one.tags.some((tag) => tag.toLowerCase() === term.slice(4));
    return (one) => [one.name, one.note, ...one.tags].some((text) => text.toLowerCase().includes(term));
  }

  layout(cards) {
    $("table").classList.toggle("cards", cards);
    $("asCards").setAttribute("aria-pressed", String(cards));
    $("asRows").setAttribute("aria-pressed", String(!cards));
  }

  // -- selecting --------------------------------------------------------------------------------------------

  tick(one, range) {
    const order = (this.sorted ?? this.items).filter((item) => !item.row.hidden);
    const from = range && this.last ? order.indexOf(this.last) : -1;
    const to = order.indexOf(one);
    const some = from < 0 ? [one] : order.slice(Math.min(from, to), Math.max(from, to) + 1);
    this.choose(some, one.box.checked);
    this.last = one;
  }

  choose(items, on) {
    for (const one of items) {
      one.chosen = on;
      one.box.checked = on;
      one.row.classList.toggle("chosen", on);
    }
    this.count();
  }

  count() {
    const count = this.items.filter((one) => one.chosen).length;
    $("selected").textContent = `${count} selected`;
    $("saveList").disabled = count === 0;
  }

  askList() {
    $("listSaid").textContent = "";
    $("saving").showModal();
  }

  async keepList() {
    const tomograms = this.items.filter((one) => one.chosen).map((one) => one.number);
    try {
      const { file, tomograms: count, command } = await post("api/lists", { name: $("listName").value.trim(), tomograms, replace: $("replaceList").checked });
      $("listSaid").textContent = `${count === 1 ? "1 tomogram is" : `${count} tomograms are`} in ${file}. Verbs take it as their input: ${command}`;
      await this.refreshLists();
    } catch (error) {
      $("listSaid").textContent = error.message;
    }
  }

  // -- tags and notes ---------------------------------------------------------------------------------------

  askNote(one) {
    this.noted = one;
    $("noteOf").textContent = one.name;
    $("tags").value = one.tags.join(", ");
    $("note").value = one.note;
    $("noteSaid").textContent = "";
    $("noting").showModal();
  }

  async keepNote() {
    const one = this.noted;
    const tags = $("tags").value.split(",").map((tag) => tag.trim()).filter(Boolean);
    try {
      Object.assign(one, await post(`api/tomograms/${one.number}/note`, { tags, note: $("note").value }));
      this.fillTags(one);
      this.filter();
      $("noting").close();
    } catch (error) {
      $("noteSaid").textContent = error.message;
    }
  }
}
