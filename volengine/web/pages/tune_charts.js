// Two small charts: volumes of regions, and picks against threshold.

const WIDTH = 260;
const HEIGHT = 92;
const LEFT = 30;
const BASE = 76;

function drawn(tag, attributes, text = "") {
  const found = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, String(value));
  found.textContent = text;
  return found;
}

function frame(top) {
  return [
    drawn("line", { class: "axis", x1: LEFT, y1: BASE + 0.5, x2: WIDTH, y2: BASE + 0.5 }),
    drawn("text", { x: LEFT - 4, y: 12, "text-anchor": "end" }, String(top)),
    drawn("text", { x: LEFT - 4, y: BASE, "text-anchor": "end" }, "0"),
  ];
}

const short = (value) => (value >= 1e5 || value < 0.01 ? value.toExponential(0) : String(Number(value.toPrecision(2))));

// sizes: { edges, every, kept }; least: the least volume
export function histogram(svg, { edges, every, kept }, least) {
  if (!every.length) {
    svg.replaceChildren(drawn("text", { x: WIDTH / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "nothing above the threshold"));
    return;
  }
  const top = Math.max(...every, 1);
  const step = (WIDTH - LEFT) / every.length;
  const at = (value) => LEFT + ((WIDTH - LEFT) * Math.log(value / edges[0])) / Math.log(edges.at(-1) / edges[0]);
  const bars = [[every, "every"], [kept, "kept"]].flatMap(([counts, name]) =>
    counts.map((count, n) => {
      const height = ((BASE - 6) * count) / top;
      return drawn("rect", { class: name, x: LEFT + n * step, y: BASE - height, width: Math.max(step - 0.8, 0.5), height });
    }),
  );
  const marks = least > edges[0] && least < edges.at(-1) ? [drawn("line", { class: "mark", x1: at(least), x2: at(least), y1: 4, y2: BASE })] : [];
  const ticks = [0, 0.5, 1].map((part) => {
    const value = edges[0] * (edges.at(-1) / edges[0]) ** part;
    const anchor = ["start", "middle", "end"][part * 2];
    return drawn("text", { x: LEFT + part * (WIDTH - LEFT), y: HEIGHT - 4, "text-anchor": anchor }, part === 1 ? `${short(value)} nm³` : short(value));
  });
  svg.replaceChildren(...frame(top), ...bars, ...marks, ...ticks);
}

// points: [[threshold, picks]]; now: the threshold that is set
export function curve(svg, points, now) {
  const top = Math.max(1, ...points.map(([, picks]) => picks));
  const x = (threshold) => LEFT + (WIDTH - LEFT - 4) * threshold;
  const y = (picks) => BASE - ((BASE - 6) * picks) / top;
  const path = points.map(([threshold, picks]) => `${x(threshold)},${y(picks)}`).join(" ");
  svg.replaceChildren(
    ...frame(points.length ? top : ""),
    drawn("polyline", { class: "trace", points: path }),
    ...points.map(([threshold, picks]) => drawn("circle", { class: "spot", cx: x(threshold), cy: y(picks), r: 2 })),
    drawn("line", { class: "mark", x1: x(now), x2: x(now), y1: 4, y2: BASE }),
    ...[0, 0.5, 1].map((t) => drawn("text", { x: x(t), y: HEIGHT - 4, "text-anchor": ["start", "middle", "end"][t * 2] }, String(t))),
  );
}
