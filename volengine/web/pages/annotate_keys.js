// What each key does while one annotates.
import { Keys } from "./keys.js";
import { TOOLS } from "./tools.js";

const AXES = "zyx";
const $ = (id) => document.getElementById(id);

export function annotateKeys(page) {
  const flip = (id) => {
    $(id).checked = !$(id).checked;
    page.looks();
  };
  const enter = (other) => {
    if (page.between.preview) page.bench.trying(() => page.between.confirm());
    else page.tools.press(other);
  };
  const filters = ["none", "gaussian", "sobel"];
  return new Keys(
    [
      ...TOOLS.map(({ id, title, key }) => ({ keys: [key], what: title, act: () => page.tool(id) })),
      { keys: ["[", "]"], what: "Smaller, larger (Shift+wheel)", act: (event) => page.resize(event.key === "[" ? -1 : 1) },
      { keys: ["u"], what: "Draw ignore, or the feature", act: () => flip("ignore") },
      { keys: ["Ctrl+z"], what: "Undo own", act: () => page.send({ op: "undo" }) },
      { keys: ["Ctrl+y", "Ctrl+Shift+z"], what: "Redo own", act: () => page.send({ op: "redo" }) },
      { keys: ["w", "s"], what: "Previous, next feature", act: (event) => page.step(event.key.toLowerCase() === "w" ? -1 : 1) },
      { keys: [..."123456789"], shown: ["1", "…", "9"], what: "Feature of this number", act: (event) => page.state.features[event.key - 1] && page.choose(page.state.features[event.key - 1].name) },
      { keys: ["n"], what: "New feature", act: () => $("newFeature").focus() },
      { keys: ["ArrowLeft", "ArrowRight", "PageUp", "PageDown"], shown: ["←", "→"], what: "Slice (wheel)", act: (event) => page.turn(/Left|Up/.test(event.key) ? -1 : 1) },
      { keys: ["Shift+ArrowLeft", "Shift+ArrowRight"], shown: ["Shift ←", "Shift →"], what: "Five slices", act: (event) => page.turn(event.key === "ArrowLeft" ? -5 : 5) },
      { keys: ["Home", "End"], what: "First, last slice", act: (event) => page.turn(event.key === "Home" ? -1e6 : 1e6) },
      { keys: ["ArrowUp", "ArrowDown"], shown: ["↑", "↓"], what: "Tomogram", act: (event) => page.neighbour(event.key === "ArrowUp" ? -1 : 1) },
      { keys: [",", "."], what: "Slice drawn on", act: (event) => page.jump(event.key === "," ? -1 : 1) },
      { keys: ["v"], what: "Next axis", act: () => page.along(AXES[(AXES.indexOf(page.axis) + 1) % 3]) },
      { keys: ["+", "=", "-"], shown: ["+", "-"], what: "Zoom (Ctrl+wheel)", act: (event) => page.view.zoom(event.key === "-" ? 1 / 1.25 : 1.25) },
      { keys: ["0"], what: "Fit", act: () => page.view.fit() },
      { keys: ["Ctrl+ArrowLeft", "Ctrl+ArrowRight", "Ctrl+ArrowUp", "Ctrl+ArrowDown"], shown: ["Ctrl + arrows", "Space + drag"], what: "Pan (middle button)", act: (event) => page.panBy(event.key) },
      { keys: ["a"], what: "Automatic contrast", act: () => page.contrast.auto() },
      { keys: ["i"], what: "Invert", act: () => page.contrast.invert() },
      { keys: ["z"], what: "Next filter", act: () => page.nextFilter(filters) },
      { keys: ["o"], what: "Overlay on, off", act: () => flip("overlay") },
      { keys: ["x"], what: "Hide the feature in hand", act: () => page.toggle(page.feature) },
      { keys: ["Shift+i"], what: "Interpolate between slices", act: () => page.bench.trying(() => page.between.begin()) },
      { keys: ["Shift+r"], what: "The whole slice as a box", act: () => page.marks.wholeSlice() },
      { keys: ["t"], what: "Take the proposed box", act: () => page.bench.trying(() => page.proposal.take()) },
      { keys: ["Shift+t"], what: "Next patch of \"Where next\"", act: () => page.proposal.here && page.proposal.next() },
      { keys: ["Delete"], what: "Remove box or point (right button)", act: () => page.marks.remove() },
      { keys: ["Alt+ArrowLeft", "Alt+ArrowRight", "Alt+ArrowUp", "Alt+ArrowDown"], shown: ["Alt + arrows"], what: "Move the cursor (Shift: by 10)", act: (event) => page.cursor(event.key, 1) },
      { keys: ["Alt+Shift+ArrowLeft", "Alt+Shift+ArrowRight", "Alt+Shift+ArrowUp", "Alt+Shift+ArrowDown"], shown: [], what: "", act: (event) => page.cursor(event.key, 10) },
      { keys: ["Enter"], what: "Use the tool at the cursor; take a preview", act: () => enter(false) },
      { keys: ["Shift+Enter"], what: "Erase or remove at the cursor", act: () => enter(true) },
      { keys: ["c"], what: "Close the polygon (double click)", act: () => page.tools.close() },
      { keys: ["Escape"], what: "Cancel", act: () => (page.tools.cancel(), page.between.cancel()) },
      { keys: ["g"], what: "Gallery", act: () => (location.hash = "") },
    ],
    () => page.bench.section === "annotate",
    "Annotate",
  );
  }
