// Training boxes and points: where they are on a slice, how they look, how they are added and removed.

const AXES = "zyx";
const NEAR = 2; // slices at which a point without radius is seen

export class Marks {
  // page: the state and what is in hand
  constructor(view, page) {
    this.view = view;
    this.page = page;
  }

  // The rows and columns of a box on the slice; null if it is elsewhere.
  onSlice({ box }) {
    const across = AXES.indexOf(this.page.axis);
    if (this.page.index < box[across] || this.page.index >= box[across + 3]) return null;
    const [row, column] = [0, 1, 2].filter((axis) => axis !== across);
    return { top: box[row], left: box[column], bottom: box[row + 3], right: box[column + 3] };
  }

  addBox(from, to) {
    const { rows, columns } = this.view.slice;
    const side = this.page.side();
    const ends = (a, b, size) => {
      if (to) return [Math.max(0, Math.floor(Math.min(a, b))), Math.min(size, Math.ceil(Math.max(a, b)))];
      const length = Math.min(side, size);
      const start = Math.min(Math.max(0, Math.floor(a) - Math.floor(side / 2)), size - length);
      return [start, start + length];
    };
    const parts = [ends(from.row, to?.row, rows), ends(from.column, to?.column, columns)];
    if (parts.some(([start, stop]) => stop <= start)) return;
    this.sendBox(parts);
  }

  sendBox(parts) {
    const all = [...parts];
    all.splice(AXES.indexOf(this.page.axis), 0, [this.page.index, this.page.index + 1]);
    this.page.send({ op: "box", feature: this.page.feature, box: all.map(([start, stop]) => `${start}:${stop}`).join(",") });
  }

  wholeSlice() {
    if (this.view.slice && this.page.ready()) this.sendBox([[0, this.view.slice.rows], [0, this.view.slice.columns]]);
  }

  removeBox({ row, column }) {
    const under = this.page.state.boxes.filter((one) => {
      const at = one.feature === this.page.feature && this.onSlice(one);
      return at && row >= at.top && row < at.bottom && column >= at.left && column < at.right;
    });
    if (under.length) this.page.send({ op: "remove", item: under[under.length - 1].item });
    else this.page.bench.say("There is no box of this feature here.", true);
  }

  // Where a point is on the slice, and the radius of its ball there; null if it does not reach it.
  pointAt({ position, radius }) {
    const across = AXES.indexOf(this.page.axis);
    const away = Math.abs(position[across] - this.page.index);
    const reach = radius ?? NEAR;
    if (away > Math.max(reach, 0.5)) return null;
    const [row, column] = position.filter((_, axis) => axis !== across);
    return { row: row + 0.5, column: column + 0.5, radius: Math.sqrt(Math.max(0, reach * reach - away * away)), centre: away <= 0.5 };
  }

  addPoint({ row, column }) {
    const position = [Math.floor(row), Math.floor(column)];
    position.splice(AXES.indexOf(this.page.axis), 0, this.page.index);
    this.page.send({ op: "point", feature: this.page.feature, position, radius: this.page.radius() });
  }

  removePoint({ row, column }) {
    let best = null;
    for (const one of this.page.state.points) {
      const at = one.feature === this.page.feature && this.pointAt(one);
      if (!at) continue;
      const away = Math.hypot(at.row - row, at.column - column);
      if (away <= Math.max(at.radius, 8 / this.view.scale) && (!best || away < best.away)) best = { away, item: one.item };
    }
    if (best) this.page.send({ op: "remove", item: best.item });
    else this.page.bench.say("There is no point of this feature here.", true);
  }

  remove() {
    if (!this.page.tools.at) return;
    if (this.page.tools.tool === "box") this.removeBox(this.page.tools.at);
    else if (this.page.tools.tool === "point") this.removePoint(this.page.tools.at);
  }

  // Boxes and points, under what is being drawn.
  paint(context, pixel) {
    if (!this.page.tomogram || !this.view.look.overlay) return;
    this.page.proposal.paint(context, pixel);
    const colours = new Map(this.page.state.features.map((one) => [one.name, one.colour]));
    for (const one of this.page.state.boxes) {
      const at = !this.page.hidden.has(one.feature) && this.onSlice(one);
      if (!at) continue;
      for (const [colour, width, dash] of [["#000a", 4, []], [colours.get(one.feature) ?? "#fff", 2, [7 * pixel, 4 * pixel]]]) {
        context.strokeStyle = colour;
        context.lineWidth = width * pixel;
        context.setLineDash(dash);
        context.strokeRect(at.left, at.top, at.right - at.left, at.bottom - at.top);
      }
      context.setLineDash([]);
    }
    for (const one of this.page.state.points) {
      const at = !this.page.hidden.has(one.feature) && this.pointAt(one);
      if (!at) continue;
      for (const [colour, width] of [["#000a", 4], [colours.get(one.feature) ?? "#fff", 2]]) {
        context.strokeStyle = colour;
        context.lineWidth = width * pixel;
        context.beginPath();
        context.ellipse(at.column, at.row, Math.max(at.radius, 2 * pixel), Math.max(at.radius, 2 * pixel), 0, 0, 2 * Math.PI);
        context.stroke();
        if (at.centre) {
          context.fillStyle = colour;
          context.beginPath();
          context.ellipse(at.column, at.row, (width + 1) * pixel, (width + 1) * pixel, 0, 0, 2 * Math.PI);
          context.fill();
        }
      }
    }
  }
}
