// The box of a rule: an interaction of two features, or a competition of several.
import { element, Form } from "./tune_form.js";

// names: of the features; fields: of an interaction; change: called after a rule was changed; remove: takes it away.
// Gives the box, its form (a competition has none), and where to say what is wrong with the rule as a whole.
export function ruleBox(rule, number, { names, fields, change, remove }) {
  const box = element("div", "", { className: "rule" });
  const head = element("header");
  const button = element("button", "✕", { type: "button", title: "Remove this rule" });
  button.setAttribute("aria-label", `Remove rule ${number + 1}`);
  button.addEventListener("click", remove);
  head.append(element("span", `${number + 1}. ${rule.interact ? "Interaction" : "Competition"}`), button);
  const fault = element("p", "", { className: "fault" });
  box.append(head);
  if (!rule.interact) {
    for (const name of ["emit", "absorb"]) box.append(several(name, rule.compete, names, change));
    box.append(fault);
    return { box, form: null, fault };
  }
  for (const name of ["child", "parent"]) box.append(choice(name, rule.interact, names, change));
  const lines = element("div");
  box.append(lines, fault);
  return { box, form: new Form(lines, fields, rule.interact, change, `tune-rule${number}`), fault };
}

function choice(name, values, names, change) {
  const label = element("label", name === "child" ? "Changed" : "Beside", { className: "line", title: name });
  const select = element("select");
  select.append(...names.map((one) => element("option", one, { value: one })));
  select.value = values[name];
  select.addEventListener("change", () => {
    values[name] = select.value;
    change();
  });
  label.append(select);
  return label;
}

function several(name, values, names, change) {
  const group = element("div", "", { className: "several" });
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", name);
  group.append(element("span", name === "emit" ? "Emit" : "Absorb", { className: "dim small" }));
  for (const feature of names) {
    const label = element("label", "", { className: "tick" });
    const box = element("input", "", { type: "checkbox", checked: values[name].includes(feature) });
    box.addEventListener("change", () => {
      values[name] = box.checked ? [...values[name], feature] : values[name].filter((one) => one !== feature);
      change();
    });
    label.append(box, element("span", feature));
    group.append(label);
  }
  return group;
}
