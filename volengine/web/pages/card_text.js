// The card of a model as elements of the page: headings, paragraphs, lists, tables and blocks of code of its Markdown. All
// words are text; signs that have no meaning here are shown as they are, and pictures and links are not loaded.

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text.replace(/\\([\\`*_[\]<>|#!&])/g, "$1");
  return made;
}

function cells(line) {
  return line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim());
}

function table(lines) {
  const made = document.createElement("table");
  for (const [number, line] of lines.entries()) {
    if (number === 1) continue; // the rule below the head
    const row = made.insertRow();
    for (const text of cells(line)) row.append(element(number === 0 ? "th" : "td", text));
  }
  return made;
}

function list(lines) {
  const made = document.createElement("ul");
  made.append(...lines.map((line) => element("li", line.slice(2))));
  return made;
}

// The elements of a card; a heading of the n-th order is shown as one of order n + 2.
export function cardElements(text) {
  const found = [];
  const blocks = text.split(/^(```[\s\S]*?^```)$/m);
  for (const block of blocks) {
    if (block.startsWith("```")) {
      const made = document.createElement("pre");
      made.textContent = block.split("\n").slice(1, -1).join("\n");
      found.push(made);
      continue;
    }
    for (const part of block.split(/\n\s*\n/).map((one) => one.trim())) {
      const lines = part.split("\n");
      const heading = /^(#{1,3}) (.*)$/.exec(lines[0]);
      if (!part || /^!\[[^\]]*\]\([^)]*\)$/.test(part)) continue;
      if (heading && lines.length === 1) found.push(element(`h${heading[1].length + 2}`, heading[2]));
      else if (lines.every((line) => line.startsWith("|")) && lines.length > 1) found.push(table(lines));
      else if (lines.every((line) => line.startsWith("- "))) found.push(list(lines));
      else found.push(element("p", lines.join(" ")));
    }
  }
  return found;
}
