// Forms of recipes: fields with their texts, as the server describes them; what is refused is said at its field.

export function element(tag, text = "", more = {}) {
  const found = document.createElement(tag);
  found.textContent = text;
  return Object.assign(found, more);
}

const NAMES = {
  min_volume_nm3: "Least volume nm³", spacing_nm: "Spacing nm", seed_distance_nm: "Seed distance nm", margin_vox: "Margin z,y,x",
  max_distance_vox: "Distances up to, vox", min_picks: "Least picks", radius_nm: "Radius nm", mode: "Distances in", split: "Split touching",
};

function title(name) {
  const text = NAMES[name] ?? name.replaceAll("_", " ");
  return text[0].toUpperCase() + text.slice(1);
}

function given(field, text) {
  if (text === "") return undefined; // the default
  if (field.kind === "three") return text.split(",").map((one) => (one.trim() !== "" && Number.isFinite(Number(one)) ? Number(one) : one));
  if (field.kind === "choice") return typeof field.choices[0] === "number" ? Number(text) : text;
  return Number.isFinite(Number(text)) ? Number(text) : text; // the server says what is wrong with other texts
}

// A form of some fields. values: an object that is changed; change: called after that.
export class Form {
  constructor(into, fields, values, change, prefix) {
    this.lines = new Map();
    into.replaceChildren(...fields.map((field) => this.line(field, values, change, `${prefix}-${field.name}`)));
  }

  line(field, values, change, id) {
    const line = element("div", "", { className: "field", title: field.text });
    const label = element("label", title(field.name));
    const fault = element("p", "", { className: "fault", id: `${id}-fault` });
    const take = (value) => {
      if (value === undefined) delete values[field.name];
      else values[field.name] = value;
      change();
    };
    const value = values[field.name];
    let control;
    let slide = null;
    if (field.kind === "choice") {
      control = element("select", "");
      control.append(...field.choices.map((one) => element("option", String(one), { value: String(one) })));
      control.value = String(value ?? field.default);
      control.addEventListener("change", () => take(given(field, control.value)));
    } else if (field.kind === "yes") {
      control = element("input", "", { type: "checkbox", checked: value ?? field.default });
      control.addEventListener("change", () => take(control.checked));
    } else {
      control = element("input", "", { inputMode: "decimal", autocomplete: "off", placeholder: field.default === null ? "auto" : String(field.default) });
      control.value = value === undefined ? "" : String(value);
      control.addEventListener("input", () => {
        if (slide && control.value !== "") slide.value = control.value;
        take(given(field, control.value.trim()));
      });
      if (field.slide) {
        const [min, max, step] = field.slide;
        slide = element("input", "", { type: "range", min, max, step, id: `${id}-slide` });
        slide.value = String(value ?? field.default);
        slide.setAttribute("aria-label", title(field.name));
        slide.addEventListener("input", () => {
          control.value = slide.value;
          take(Number(slide.value));
        });
      }
    }
    control.id = id;
    control.setAttribute("aria-describedby", fault.id);
    label.append(control);
    line.append(label, ...(slide ? [slide] : []), fault);
    this.lines.set(field.name, { line, fault, control });
    return line;
  }

  // What is wrong with a field; none: all is well. Whether the field is here.
  wrong(name, text) {
    for (const [field, { line, fault, control }] of this.lines) {
      const is = field === name;
      line.classList.toggle("wrong", is);
      control.setAttribute("aria-invalid", String(is));
      fault.textContent = is ? text : "";
    }
    return this.lines.has(name);
  }
}
