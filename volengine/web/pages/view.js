// The page for looking. Names of tomograms and layers are text, never markup: they come from files of anybody.
import { Neuroglancer, hasWebGL2 } from "./neuroglancer.js";
import { Pictures } from "./pictures.js";
import { address, get, post } from "./server.js";

const $ = (id) => document.getElementById(id);
const KINDS = { intensity: "tomogram", probability: "prediction", labels: "labels", picks: "picks", axes: "axes", surfaces: "surface" };

const shown = { number: 0, scene: null };
let names = [];
let viewer = null;
let pictures = null;

function made(tag, text, more = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  return Object.assign(element, more);
}

function say(text, wrong = false) {
  $("message").textContent = text;
  $("message").hidden = !text;
  $("message").classList.toggle("wrong", wrong);
  document.body.dataset.state = wrong ? "wrong" : text ? "loading" : "ready";
}

async function trying(what) {
  try {
    await what();
  } catch (error) {
    say(error.message, true);
  }
}

// -- lists ------------------------------------------------------------------------------------------------

function listTomograms() {
  $("tomograms").hidden = names.length < 2;
  const word = $("filter").value.trim().toLowerCase();
  const fit = names.map((name, number) => [name, number]).filter(([name]) => name.toLowerCase().includes(word));
  $("count").textContent = fit.length === names.length ? `(${names.length})` : `(${fit.length} of ${names.length})`;
  $("list").replaceChildren(
    ...fit.map(([name, number]) => {
      const button = made("button", name, { type: "button" });
      if (number === shown.number) button.setAttribute("aria-current", "true");
      button.addEventListener("click", () => trying(() => show(number)));
      const item = document.createElement("li");
      item.append(button);
      return item;
    }),
  );
}

function swatch(colour) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "swatch");
  svg.setAttribute("aria-hidden", "true");
  const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  rect.setAttribute("fill", colour ?? "#888");
  svg.append(rect);
  return svg;
}

function on(layer) {
  return viewer ? viewer.visible(layer.name) : pictures.layers.includes(layer.key);
}

function listLayers() {
  const layers = shown.scene.layers.filter((one) => viewer || one.picture);
  $("layers").replaceChildren(
    ...layers.map((layer) => {
      const box = made("input", "", { type: "checkbox", checked: on(layer) });
      box.addEventListener("change", () => toggle(layer, box.checked));
      const label = document.createElement("label");
      label.append(box, swatch(layer.colour), made("span", layer.name), made("span", KINDS[layer.kind], { className: "kind" }));
      const item = document.createElement("li");
      item.append(label);
      return item;
    }),
  );
}

function toggle(layer, checked) {
  if (viewer) {
    viewer.setVisible(layer.name, checked);
    return;
  }
  pictures.layers = pictures.layers.filter((key) => key !== layer.key).concat(checked ? [layer.key] : []);
  pictures.draw();
}

async function listViews() {
  const { views } = await get("api/views");
  const mine = views.filter((one) => one.tomogram === shown.scene.name);
  $("saved").hidden = !mine.length || !viewer;
  $("views").replaceChildren(
    ...mine.map((one) => {
      const button = made("button", one.title || one.saved.slice(0, 16).replace("T", " "), { type: "button" });
      button.addEventListener("click", () => trying(() => open(one.name)));
      const item = document.createElement("li");
      item.append(button);
      return item;
    }),
  );
}

// -- scenes -----------------------------------------------------------------------------------------------

async function show(number, state = null) {
  say(`Opening ${names[number]} …`);
  const scene = await get(`api/tomograms/${number}`);
  shown.number = number;
  shown.scene = scene;
  document.title = `${scene.name} - volengine`;
  $("name").textContent = scene.name;
  $("facts").textContent = `${scene.shape.join(" × ")} voxels, ${scene.nm.map((n) => n.toFixed(0)).join(" × ")} nm`;
  $("notes").replaceChildren(...scene.notes.map((note) => made("li", note)));
  $("said").hidden = !scene.notes.length;
  if (viewer) {
    viewer.show(state ?? viewer.fitted({ ...scene.state, layout: $("layout").value }, scene.shape));
    if (typeof state?.layout === "string") $("layout").value = state.layout;
  } else {
    pictures.layers = scene.layers.filter((one) => one.visible && one.picture).map((one) => one.key);
    pictures.show(number, scene, "This browser has no WebGL2, so the server draws the slices.");
  }
  $("invert").setAttribute("aria-pressed", String(pressed));
  if (!state) history.replaceState(null, "", `#tomogram=${encodeURIComponent(scene.name)}`);
  listTomograms();
  listLayers();
  await listViews();
  say("");
}

let pressed = false;

function invert() {
  pressed = !pressed;
  $("invert").setAttribute("aria-pressed", String(pressed));
  if (viewer) {
    viewer.invert(shown.scene.layers.filter((one) => one.kind === "intensity").map((one) => one.name));
  } else {
    pictures.invert = pressed;
    pictures.draw();
  }
}

// -- saved views ------------------------------------------------------------------------------------------

async function open(name) {
  const view = await get(`api/views/${name}`);
  const number = names.indexOf(view.tomogram);
  if (number < 0) throw new Error(`This view shows the tomogram ${view.tomogram}, which is not open here.`);
  await show(number, viewer ? view.state : null);
  history.replaceState(null, "", `#view=${name}`);
}

async function keep() {
  const { name } = await post("api/views", { tomogram: shown.scene.name, title: $("title").value, state: viewer.state() });
  history.replaceState(null, "", `#view=${name}`);
  $("link").value = address(`#view=${name}`);
  $("made").hidden = false;
  $("link").select();
  await listViews();
}

// -- the beginning ----------------------------------------------------------------------------------------

async function begin() {
  const found = await get("api/tomograms");
  names = found.tomograms;
  pressed = found.invert;
  if (hasWebGL2() && !new URLSearchParams(location.search).has("pictures")) {
    viewer = new Neuroglancer($("viewer"));
    await viewer.load();
    viewer.onlayers = () => shown.scene && listLayers();
  } else {
    pictures = new Pictures({ plain: $("plain"), axis: $("axis"), index: $("index"), at: $("at"), picture: $("picture"), why: $("why") });
    pictures.invert = pressed;
    for (const id of ["layout", "centre", "share"]) $(id).closest("label, button").hidden = true;
  }
  await go();
}

async function go() {
  const asked = new URLSearchParams(location.hash.slice(1));
  if (asked.has("view")) return open(asked.get("view"));
  return show(Math.max(0, names.indexOf(asked.get("tomogram"))));
}

$("filter").addEventListener("input", listTomograms);
$("layout").addEventListener("change", () => viewer.layout($("layout").value));
$("invert").addEventListener("click", invert);
$("centre").addEventListener("click", () => trying(() => show(shown.number)));
$("share").addEventListener("click", () => {
  $("made").hidden = true;
  $("sharing").showModal();
});
$("keep").addEventListener("click", () => trying(keep));
$("copy").addEventListener("click", () => navigator.clipboard?.writeText($("link").value) ?? $("link").select());
$("fold").addEventListener("click", () => {
  const folded = document.querySelector("main").classList.toggle("folded");
  $("fold").setAttribute("aria-expanded", String(!folded));
});
window.addEventListener("hashchange", () => trying(go));

trying(begin);
