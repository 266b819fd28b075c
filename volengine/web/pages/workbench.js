// The page for working on a project: its sections, messages, and who draws. Names of tomograms, features and people are
// text, never markup.
import { Annotate } from "./annotate.js";
import { Gallery } from "./gallery.js";
import { Keys } from "./keys.js";
import { Models } from "./models.js";
import { Picks } from "./picks.js";
import { Run } from "./run.js";
import { get } from "./server.js";
import { Tune } from "./tune.js";
import { Teach } from "./teach.js";

const $ = (id) => document.getElementById(id);

function kept(name) {
  try {
    return localStorage.getItem(`volengine ${name}`);
  } catch {
    return null; // a browser that keeps nothing
  }
}

function keep(name, value) {
  try {
    localStorage.setItem(`volengine ${name}`, value);
  } catch {
    // as above
  }
}

const bench = {
  section: "gallery",
  number: null, // the tomogram that was shown last
  kept,
  keep,

  // What was set in this tab, for when its page is loaded again.
  remember(name, value) {
    try {
      sessionStorage.setItem(`volengine ${name}`, JSON.stringify(value));
    } catch {
      // a browser that keeps nothing
    }
  },

  remembered(name) {
    try {
      return JSON.parse(sessionStorage.getItem(`volengine ${name}`));
    } catch {
      return null;
    }
  },

  say(text, wrong = false) {
    $("message").textContent = text;
    $("message").title = text;
    $("message").classList.toggle("wrong", wrong);
    document.body.dataset.state = wrong ? "wrong" : "ready";
  },

  async trying(what) {
    try {
      return await what();
    } catch (error) {
      if (error.name !== "AbortError") bench.say(error.message, true);
      return undefined;
    }
  },

  user() {
    return $("user").value.trim();
  },

  open(section) {
    bench.section = section;
    for (const button of document.querySelectorAll("nav button")) {
      if (button.dataset.section === section) button.setAttribute("aria-current", "page");
      else button.removeAttribute("aria-current");
    }
    for (const one of document.querySelectorAll("main")) one.hidden = one.id !== section;
  },

  // Lead to a tomogram in a section. The address says what is shown, so it can be kept, and Back works.
  show(number, section = "annotate") {
    bench.number = number;
    location.hash = `${section}=${encodeURIComponent(bench.facts.tomograms[number])}`;
  },
};

// A section: what it is made of; whether it shows one tomogram (then show(number) is called, else refresh()).
const SECTIONS = {
  gallery: { made: Gallery },
  annotate: { made: Annotate, one: true },
  teach: { made: Teach },
  tune: { made: Tune, one: true },
  picks: { made: Picks },
  models: { made: Models },
  run: { made: Run },
};
const sections = {};

async function go() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const name = Object.keys(SECTIONS).find((one) => asked.has(one)) ?? "gallery";
  bench.open(name);
  if (!SECTIONS[name].one) {
    document.title = `${bench.facts.name} - volengine`;
    await sections[name].refresh();
    return;
  }
  const number = bench.facts.tomograms.indexOf(asked.get(name));
  if (number < 0) throw new Error(`There is no tomogram ${asked.get(name)} in this project.`);
  bench.number = number;
  await sections[name].show(number);
}

async function begin() {
  bench.facts = await get("api/project");
  $("project").textContent = bench.facts.name;
  $("user").value = kept("user") || bench.facts.user;
  for (const [name, { made }] of Object.entries(SECTIONS)) sections[name] = new made(bench);
  bench.sections = sections;
  Keys.listAll($("keyList"));
  if (!bench.facts.writable) {
    const why = "This project cannot be written to: it can only be looked at.";
    for (const button of document.querySelectorAll("[data-writes]")) Object.assign(button, { disabled: true, title: why });
    bench.say(why);
  }
  window.addEventListener("hashchange", () => {
    if (document.body.dataset.state === "wrong") bench.say(""); // it was of the section that is left
    bench.trying(go);
  });
  await go();
  document.body.dataset.state = document.body.dataset.state ?? "ready";
}

$("user").addEventListener("change", () => {
  if (!bench.user()) $("user").value = bench.facts.user;
  keep("user", bench.user());
  bench.trying(() => sections.annotate.refresh());
});
const keys = () => $("keys").showModal();
new Keys(
  [
    { keys: ["?"], what: "These keys", act: keys },
    { keys: ["Tab", "Enter"], what: "From control to control; press it" },
    { keys: ["Escape"], shown: ["Esc"], what: "Close a window" },
    { keys: ["Shift+click"], what: "Gallery, Picks: all between two" },
  ],
  () => true,
  "Everywhere",
);
$("help").addEventListener("click", keys);
$("theme").addEventListener("click", () => {
  const dark = getComputedStyle(document.documentElement).colorScheme.includes("dark");
  document.documentElement.className = dark ? "light" : "dark";
  keep("theme", dark ? "light" : "dark");
});
document.documentElement.className = kept("theme") ?? "";
for (const button of document.querySelectorAll("nav button")) {
  button.addEventListener("click", () => {
    const name = button.dataset.section;
    if (SECTIONS[name].one) bench.show(bench.number ?? 0, name);
    else location.hash = name;
  });
}

bench.trying(begin);
