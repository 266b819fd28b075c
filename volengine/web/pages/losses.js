// The losses of a training over its epochs, as a picture of lines.

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [360, 170, 44, 74, 10, 26];

function shape(tag, more, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(more)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

function short(value) {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(2);
}

// rows: { epoch, loss, validation_loss }; epochs: how many there will be
export function losses(rows, epochs) {
  const curves = [["train", "training", "loss"], ["validate", "validation", "validation_loss"]]
    .map(([id, title, column]) => ({ id, title, points: rows.filter((row) => row[column] != null).map((row) => [row.epoch, row[column]]) }))
    .filter((one) => one.points.length);
  const top = 1.05 * Math.max(...curves.flatMap((one) => one.points.map(([, value]) => value)), 1e-9);
  const end = Math.max(epochs ?? 0, rows.length, 2);
  const x = (epoch) => LEFT + ((WIDTH - LEFT - RIGHT) * (epoch - 1)) / (end - 1);
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - Math.max(0, value) / top);
  const last = curves.map((one) => `${one.title} ${short(one.points.at(-1)[1])}`).join(", ");
  const drawn = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `Loss after ${rows.length} epochs: ${last}` });
  drawn.append(
    shape("path", { class: "axis", d: `M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}` }),
    shape("text", { x: LEFT - 5, y: TOP + 8, "text-anchor": "end" }, short(top)),
    shape("text", { x: LEFT - 5, y: HEIGHT - BOTTOM, "text-anchor": "end" }, "0"),
    shape("text", { x: 2, y: (HEIGHT - BOTTOM) / 2 + 6 }, "Loss"),
    shape("text", { x: LEFT, y: HEIGHT - 8, "text-anchor": "middle" }, "1"),
    shape("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, "Epoch"),
    shape("text", { x: WIDTH - RIGHT, y: HEIGHT - 8, "text-anchor": "middle" }, String(end)),
  );
  const places = [];
  for (const { id, title, points } of curves) {
    if (points.length > 1) drawn.append(shape("polyline", { class: id, points: points.map(([epoch, value]) => `${x(epoch)},${y(value)}`).join(" ") }));
    const [epoch, value] = points.at(-1);
    drawn.append(shape("circle", { class: `mark-${id}`, cx: x(epoch), cy: y(value), r: 3.5 }));
    let at = y(value) + 4;
    if (places.some((other) => Math.abs(other - at) < 13)) at = places[0] + (at < places[0] ? -13 : 13);
    places.push(at);
    drawn.append(shape("text", { class: `mark-${id}`, x: x(epoch) + 8, y: at }, title));
  }
  return drawn;
}
