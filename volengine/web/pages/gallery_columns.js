// Columns of the gallery: which are shown, what stands in them, how they are sorted and compared.

const $ = (id) => document.getElementById(id);
export const natural = new Intl.Collator(undefined, { numeric: true });
const whole = new Intl.NumberFormat("en");
const rounded = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });

// Columns that each tomogram has: key, title, least width in rem, share of what is left.
const OWN = [
  ["shape", "Shape (z, y, x)", 8, 0],
  ["voxel", "Voxel", 5, 0],
  ["picks", "Picks", 6.5, 1.6],
  ["slices", "Drawn on", 6.5, 1.6],
  ["tags", "Tags, note", 6.5, 1.6],
];
const FROM_TABLE = [6, 1];
const REST = 25; // rem of a row beside these columns
const GAP = 0.9;
const KEPT = "gallery columns";

export function made(tag, text = "", more = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  return Object.assign(element, more);
}

export function shown(value) {
  if (typeof value !== "number") return value;
  if (Number.isInteger(value)) return whole.format(value);
  const size = Math.abs(value);
  return size >= 1e-4 && size < 1e15 ? rounded.format(value) : value.toExponential(2);
}

// Values in rising order, numbers before texts.
export function compared(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "number") return -1;
  if (typeof b === "number") return 1;
  return natural.compare(a, b);
}

export class Columns {
  constructor(gallery) {
    this.gallery = gallery;
    this.keys = []; // of all columns that tables have
    this.chosen = this.kept();
    $("columns").addEventListener("click", () => this.ask());
    $("columnSearch").addEventListener("input", () => this.narrow());
  }

  kept() {
    try {
      const found = JSON.parse(this.gallery.bench.kept(KEPT) ?? "null");
      if (Array.isArray(found)) return found.filter((key) => typeof key === "string");
    } catch {
      // something else has been kept there
    }
    return OWN.map(([key]) => key);
  }

  // Columns of tables that are shown, and all that are shown, as in OWN.
  get more() {
    return this.chosen.filter((key) => this.keys.includes(key));
  }

  get current() {
    return [...OWN.filter(([key]) => this.chosen.includes(key)), ...this.more.map((key) => [key, key, ...FROM_TABLE])];
  }

  // What tables have of the tomograms, once their facts are known.
  learn(items) {
    const keys = new Set(items.flatMap((one) => Object.keys(one.values ?? {})));
    this.keys = [...keys].sort(natural.compare);
    this.byLower = new Map(this.keys.map((key) => [key.toLowerCase(), key]));
    this.lay();
  }

  lay() {
    const current = this.current;
    const tracks = current.map(([, , least, share]) => (share ? `minmax(${least}rem, ${share}fr)` : `${least}rem`));
    const table = $("table").style;
    table.setProperty("--tracks", tracks.join(" ") || "0");
    table.setProperty("--least", `${current.reduce((all, [, , least]) => all + least + GAP, REST)}rem`);
    this.heads(current);
    const more = this.more;
    for (const one of this.gallery.items) this.fill(one, more);
  }

  heads(current) {
    const cells = [["name", "Name"], ...current].map(([key, title]) => {
      const cell = made("div");
      cell.setAttribute("role", "columnheader");
      const breakable = title.replace(/[._]/g, "$&\u200b");
      const button = made("button", breakable, { type: "button", title: `Sort by ${title}`, ariaLabel: title });
      button.addEventListener("click", () => this.gallery.sortBy(key));
      cell.append(button);
      return cell;
    });
    $("heads").replaceChildren(made("div"), made("div"), ...cells, made("div"));
  }

  fill(one, more) {
    for (const [key] of OWN) one.cells[key].hidden = !this.chosen.includes(key);
    for (const cell of one.more ?? []) cell.remove();
    one.more = more.map((key) => {
      const value = one.values?.[key];
      const stale = one.stale?.[key];
      const cell = made("div", value === undefined ? "" : `${shown(value)}${stale ? " ⚠" : ""}`, { className: "cell wide extra" });
      cell.dataset.column = key;
      cell.setAttribute("role", "cell");
      if (stale) cell.title = stale;
      cell.classList.toggle("stale", Boolean(stale));
      return cell;
    });
    one.edit.before(...one.more);
  }

  // -- choosing ---------------------------------------------------------------------------------------------

  ask() {
    const line = (key, title) => {
      const box = made("input", "", { type: "checkbox", checked: this.chosen.includes(key) });
      box.addEventListener("change", () => this.choose(key, box.checked));
      const label = made("label", "", { className: "tick" });
      label.append(box, made("span", title));
      label.dataset.key = key.toLowerCase();
      return label;
    };
    const lines = [...OWN.map(([key, title]) => line(key, title)), ...this.keys.map((key) => line(key, key))];
    $("columnList").replaceChildren(...lines);
    $("noColumns").hidden = this.keys.length > 0;
    this.narrow();
    $("choosing").showModal();
  }

  narrow() {
    const text = $("columnSearch").value.trim().toLowerCase();
    for (const line of $("columnList").children) line.hidden = !line.textContent.toLowerCase().includes(text);
  }

  choose(key, on) {
    this.chosen = this.chosen.filter((one) => one !== key);
    if (on) this.chosen.push(key);
    this.gallery.bench.keep(KEPT, JSON.stringify(this.chosen));
    this.lay();
  }

  // -- searching --------------------------------------------------------------------------------------------

  // A test of a column of tables: ribosome.volume_nm3>1e5, manifest.group=central; undefined if it is none.
  test(term) {
    const found = /^(.+?)(<=|>=|<|>|=)(.+)$/.exec(term);
    const key = found && this.byLower?.get(found[1]);
    if (!key) return undefined;
    const [, , sign, text] = found;
    const number = Number(text);
    return (one) => {
      const value = one.values?.[key];
      if (value === undefined) return false;
      if (typeof value !== "number") return sign === "=" && value.toLowerCase() === text;
      if (Number.isNaN(number)) return false;
      return { "<": value < number, ">": value > number, "=": value === number, "<=": value <= number, ">=": value >= number }[sign];
    };
  }
}
