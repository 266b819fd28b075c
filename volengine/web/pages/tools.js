// Drawing on a slice: what pointer and keys do with the tool in hand, and how it looks meanwhile. What is drawn becomes an
// operation, which the page sends; places in it are voxels, whose centres are whole numbers.

export const TOOLS = [
  { id: "brush", title: "Brush", key: "b" },
  { id: "eraser", title: "Eraser", key: "e" },
  { id: "fill", title: "Fill", key: "f" },
  { id: "polygon", title: "Polygon", key: "l" },
  { id: "box", title: "Box", key: "r" },
  { id: "point", title: "Point", key: "p" },
];

const exact = (value) => Math.round(value * 1000) / 1000;
const centred = ({ row, column }) => [exact(row - 0.5), exact(column - 0.5)];

export class Tools {
  // page: what the tools ask (slice, feature, size …) and tell (send, say)
  constructor(view, page) {
    this.view = view;
    this.page = page;
    this.tool = "brush";
    this.at = null; // the pointer, or the cursor of the keys
    this.stroke = null;
    this.corners = [];
    this.rectangle = null;
    this.pending = [];
    this.space = false;
    const canvas = view.canvas;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", () => this.cancel());
    canvas.addEventListener("pointerleave", () => this.leave());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => this.tool === "polygon" && this.close());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    document.addEventListener("keydown", (event) => event.key === " " && event.target === canvas && this.hold(event, true));
    document.addEventListener("keyup", (event) => event.key === " " && this.hold(event, false));
    window.addEventListener("blur", () => (this.space = false));
    view.above = (context, pixel) => this.paint(context, pixel);
  }

  choose(tool) {
    this.cancel();
    this.tool = tool;
    this.view.draw();
  }

  hold(event, down) {
    if (down) event.preventDefault();
    this.space = down;
    this.view.canvas.classList.toggle("panning", down);
  }

  // -- pointer ----------------------------------------------------------------------------------------------

  down(event) {
    if (!this.view.slice) return;
    const canvas = this.view.canvas;
    canvas.focus({ preventScroll: true });
    if (this.stroke || this.panning || this.rectangle) return; // a second button or finger
    canvas.setPointerCapture(event.pointerId);
    if (event.button === 1 || (event.button === 0 && this.space)) {
      event.preventDefault();
      this.panning = { x: event.clientX, y: event.clientY };
      canvas.classList.add("panning");
      return;
    }
    if (event.button !== 0 && event.button !== 2) return;
    this.at = this.view.place(event);
    this.use(this.at, event.button === 2, event.pointerId);
  }

  // What a click or the start of a drag does; pointer is missing where a key did it.
  use(place, other, pointer) {
    if (!this.page.ready()) return;
    switch (this.tool) {
      case "brush": case "eraser":
        this.stroke = { points: [centred(place)], erases: other || this.tool === "eraser", radius: this.page.radius(), slice: this.page.slice(), colour: this.page.colour() };
        if (pointer === undefined) this.finish();
        break;
      case "fill":
        if (this.view.inside(place)) this.fill(place, other);
        break;
      case "polygon":
        if (other) this.corners.pop();
        else this.corners.push(centred(place));
        this.lasso = !other && pointer !== undefined;
        break;
      case "box":
        if (other) this.page.marks.removeBox(place);
        else if (pointer === undefined) this.page.marks.addBox(place, null);
        else this.rectangle = { from: place, to: place };
        break;
      case "point":
        if (other) this.page.marks.removePoint(place);
        else if (this.view.inside(place)) this.page.marks.addPoint(place);
        break;
      default:
    }
    this.view.draw();
  }

  move(event) {
    if (!this.view.slice) return;
    if (this.panning) {
      this.view.pan(event.clientX - this.panning.x, event.clientY - this.panning.y);
      this.panning = { x: event.clientX, y: event.clientY };
      return;
    }
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length ? events : [event]) {
      const place = this.view.place(one);
      if (this.stroke) this.follow(this.stroke.points, place, 0.25);
      else if (this.lasso && event.buttons) this.follow(this.corners, place, 1.5);
    }
    this.at = this.view.place(event);
    if (this.rectangle) this.rectangle.to = this.at;
    this.page.tell(this.at);
    this.view.draw();
  }

  // Points that lie close to the last one say nothing new.
  follow(points, place, least) {
    const [row, column] = centred(place);
    const last = points[points.length - 1];
    if (Math.hypot(row - last[0], column - last[1]) >= least) points.push([row, column]);
  }

  up(event) {
    if (this.panning) {
      this.panning = null;
      if (!this.space) this.view.canvas.classList.remove("panning");
      return;
    }
    this.lasso = false;
    if (this.stroke) {
      this.follow(this.stroke.points, this.view.place(event), 0.25);
      this.finish();
    } else if (this.rectangle) {
      const { from, to } = this.rectangle;
      this.rectangle = null;
      const dragged = Math.max(Math.abs(from.row - to.row) * this.view.stepY, Math.abs(from.column - to.column) * this.view.stepX) > 5;
      this.page.marks.addBox(from, dragged ? to : null);
    }
    this.view.draw();
  }

  leave() {
    if (this.stroke || this.rectangle || this.panning) return;
    this.at = null;
    this.page.tell(null);
    this.view.draw();
  }

  wheel(event) {
    event.preventDefault();
    const down = Math.sign(event.deltaY || event.deltaX);
    if (!down || !this.view.slice) return;
    const frame = this.view.canvas.getBoundingClientRect();
    if (event.ctrlKey) this.view.zoom(down > 0 ? 1 / 1.25 : 1.25, event.clientX - frame.left, event.clientY - frame.top);
    else if (event.shiftKey) this.page.resize(down > 0 ? -1 : 1);
    else if (!this.stroke && !this.rectangle) this.page.turn(down);
  }

  // -- keys -------------------------------------------------------------------------------------------------

  nudge(rows, columns) {
    const slice = this.view.slice;
    if (!slice) return;
    const from = this.at ?? { row: Math.floor(slice.rows / 2) + 0.5, column: Math.floor(slice.columns / 2) + 0.5 };
    const within = (value, size) => Math.min(size - 0.5, Math.max(0.5, Math.floor(value) + 0.5));
    this.at = { row: within(from.row + rows, slice.rows), column: within(from.column + columns, slice.columns) };
    this.page.tell(this.at);
    this.view.draw();
  }

  press(other) {
    if (!this.view.slice) return;
    if (!this.at) this.nudge(0, 0);
    this.use(this.at, other, undefined);
  }

  // -- operations -------------------------------------------------------------------------------------------

  finish() {
    const { points, erases, radius, slice } = this.stroke;
    const stroke = this.stroke;
    this.stroke = null;
    this.pending.push(stroke);
    const operation = { op: "brush", ...slice, points, radius, ...this.page.value(erases) };
    this.page.send(operation, () => {
      this.pending = this.pending.filter((one) => one !== stroke);
      this.view.draw();
    });
  }

  fill(place, other) {
    const seed = [Math.floor(place.row), Math.floor(place.column)];
    const slice = this.page.slice();
    if (other) this.page.send({ op: "fill_labels", ...slice, seed, ...this.page.value(true) });
    else this.page.send({ op: "fill", ...slice, seed, radius: this.page.radius(), ...this.page.fill(), ...this.page.value(false) });
  }

  close() {
    const corners = this.corners;
    this.corners = [];
    this.lasso = false;
    const same = (a, b) => a[0] === b[0] && a[1] === b[1];
    const points = corners.filter((one, at) => at === 0 || !same(one, corners[at - 1]));
    if (points.length >= 3) this.page.send({ op: "polygon", ...this.page.slice(), points, ...this.page.value(false) });
    this.view.draw();
  }

  cancel() {
    this.stroke = null;
    this.corners = [];
    this.rectangle = null;
    this.lasso = false;
    this.panning = null;
    this.view.draw();
  }

  // -- how it looks -----------------------------------------------------------------------------------------

  // Strokes that the server does not have yet, what is being drawn, and the outline of the tool. One unit is a voxel.
  paint(context, pixel) {
    this.page.marks.paint(context, pixel);
    const here = this.page.slice();
    for (const stroke of [...this.pending, ...(this.stroke ? [this.stroke] : [])]) {
      if (stroke.slice.axis === here.axis && stroke.slice.slice === here.slice) this.paintStroke(context, stroke);
    }
    context.lineWidth = 1.5 * pixel;
    if (this.corners.length) this.paintPolygon(context, pixel);
    if (this.rectangle) {
      const { from, to } = this.rectangle;
      context.strokeStyle = this.page.colour();
      context.strokeRect(from.column, from.row, to.column - from.column, to.row - from.row);
    }
    if (!this.at || this.space) return;
    const { row, column } = this.at;
    const radius = ["brush", "eraser", "fill", "point"].includes(this.tool) ? this.page.radius() : 0;
    this.ring(context, pixel, row, column, radius);
    if (this.tool === "box" && !this.rectangle) {
      const side = this.page.side();
      context.setLineDash([4 * pixel, 3 * pixel]);
      context.strokeRect(Math.floor(column) - Math.floor(side / 2), Math.floor(row) - Math.floor(side / 2), side, side);
      context.setLineDash([]);
    }
  }

  ring(context, pixel, row, column, radius) {
    for (const [colour, width] of [["#000a", 3], ["#fff", 1.25]]) {
      context.strokeStyle = colour;
      context.lineWidth = width * pixel;
      context.beginPath();
      if (radius > 0) context.ellipse(column, row, radius, radius, 0, 0, 2 * Math.PI);
      const arm = 4 * pixel;
      context.moveTo(column - arm, row);
      context.lineTo(column + arm, row);
      context.moveTo(column, row - arm);
      context.lineTo(column, row + arm);
      context.stroke();
    }
  }

  paintStroke(context, { points, radius, erases, colour }) {
    context.save();
    context.globalAlpha = erases ? 0.35 : 0.55;
    context.strokeStyle = erases ? "#fff" : colour;
    context.lineWidth = 2 * radius;
    context.lineCap = "round";
    context.lineJoin = "round";
    context.beginPath();
    context.moveTo(points[0][1] + 0.5, points[0][0] + 0.5);
    for (const [row, column] of points) context.lineTo(column + 0.5, row + 0.5);
    if (points.length === 1) context.lineTo(points[0][1] + 0.5001, points[0][0] + 0.5);
    context.stroke();
    context.restore();
  }

  paintPolygon(context, pixel) {
    context.strokeStyle = this.page.colour();
    context.fillStyle = this.page.colour();
    context.beginPath();
    for (const [row, column] of this.corners) context.lineTo(column + 0.5, row + 0.5);
    if (this.at) context.lineTo(this.at.column, this.at.row);
    context.closePath();
    context.globalAlpha = 0.25;
    context.fill();
    context.globalAlpha = 1;
    context.stroke();
    for (const [row, column] of this.corners) context.fillRect(column + 0.5 - 2 * pixel, row + 0.5 - 2 * pixel, 4 * pixel, 4 * pixel);
  }
}
