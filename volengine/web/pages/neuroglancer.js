// Neuroglancer in its frame: states in and out, layers on and off. The frame is of our origin, but has rules of its own.
import { address } from "./server.js";

const PLACE = "viewer/v/volengine/";
const MARK = "{data}";
const BARS = 90; // pixels of the viewer's own bars above the panels

export function hasWebGL2() {
  return document.createElement("canvas").getContext("webgl2") !== null;
}

// Addresses of data stand as {data} in states that are kept.
function exchanged(value, from, to) {
  if (typeof value === "string") return value.startsWith(from) ? to + value.slice(from.length) : value;
  if (Array.isArray(value)) return value.map((one) => exchanged(one, from, to));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, exchanged(one, from, to)]));
  }
  return value;
}

export class Neuroglancer {
  constructor(frame) {
    this.frame = frame;
    this.onlayers = () => {};
  }

  async load() {
    this.frame.hidden = false;
    const loaded = new Promise((resolve) => this.frame.addEventListener("load", resolve, { once: true }));
    this.frame.src = address(PLACE);
    await loaded;
    for (let turn = 0; !this.frame.contentWindow.viewer; turn++) {
      if (turn > 600) throw new Error("The viewer does not start.");
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    this.viewer = this.frame.contentWindow.viewer;
    this.viewer.layerManager.layersChanged.add(() => this.onlayers());
  }

  // The size of a pixel with which all of a scene is seen; panels are half as wide in the layout of four.
  fitted(state, shape) {
    const [nz, ny, nx] = shape;
    const { clientWidth: width, clientHeight: height } = this.frame;
    const parts = state.layout === "4panel" ? 2 : 1;
    const room = Math.max(64, Math.min(width, height - BARS) / parts - 16);
    const longest = Math.max(nz, ny, nx);
    return { ...state, crossSectionScale: Math.max(nx, ny) / room, projectionScale: longest * 1.5 };
  }

  show(state) {
    this.viewer.state.reset();
    this.viewer.state.restoreState(exchanged(state, MARK, address("data")));
  }

  state() {
    const state = this.viewer.state.toJSON();
    return exchanged(JSON.parse(JSON.stringify(state)), address("data"), MARK);
  }

  layout(name) {
    this.viewer.layout.restoreState(name);
  }

  layer(name) {
    return this.viewer.layerManager.getLayerByName(name);
  }

  visible(name) {
    return this.layer(name)?.visible ?? false;
  }

  setVisible(name, on) {
    this.layer(name)?.setVisible(on);
  }

  // Exchange black and white of the tomogram.
  invert(names) {
    for (const name of names) {
      const controls = this.layer(name)?.layer?.shaderControlState?.controls?.value;
      const state = this.layer(name)?.layer?.shaderControlState?.state?.get("normalized")?.trackable;
      if (!controls || !state) continue;
      const { range, ...rest } = state.value;
      state.value = { ...rest, range: [range[1], range[0]] };
    }
  }
}
