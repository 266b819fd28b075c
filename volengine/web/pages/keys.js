// Keys of the workbench: one table, which is also what the overlay lists. Keys agree with Ais and napari where those agree.

const TYPED = "input:not([type=range]):not([type=checkbox]), textarea, select";
const MOVES = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"];

function name(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const shifted = event.shiftKey && (event.key.length > 1 || /[a-z]/i.test(event.key));
  return [event.ctrlKey || event.metaKey ? "Ctrl+" : "", event.altKey ? "Alt+" : "", shifted ? "Shift+" : "", key].join("");
}

export class Keys {
  static every = []; // as they were made

  // entries: [{ keys: ["b"], what: "Brush", act }]; entries without act are for the overlay alone. section: its name
  constructor(entries, when, section) {
    Object.assign(this, { entries, section });
    Keys.every.push(this);
    this.acts = new Map(entries.flatMap(({ keys, act }) => (act ? keys.map((key) => [key, act]) : [])));
    document.addEventListener("keydown", (event) => {
      const target = event.target;
      if (!when() || document.querySelector("dialog[open]") || target.closest(TYPED)) return;
      if (target.matches("input") && MOVES.includes(event.key)) return;
      if (target.matches("button, input") && (event.key === "Enter" || event.key === " ")) return;
      const act = this.acts.get(name(event));
      if (!act) return;
      event.preventDefault();
      act(event);
    });
  }

  // All keys of all sections.
  static listAll(into) {
    into.replaceChildren(
      ...Keys.every.map((one) => {
        const part = document.createElement("section");
        const head = document.createElement("h3");
        head.textContent = one.section;
        const list = document.createElement("div");
        one.list(list);
        part.append(head, list);
        return part;
      }),
    );
  }

  list(into) {
    into.replaceChildren(
      ...this.entries.filter(({ what }) => what).map(({ keys, shown, what }) => {
        const line = document.createElement("p");
        const text = document.createElement("span");
        text.textContent = what;
        const marks = document.createElement("span");
        for (const key of shown ?? keys) {
          const mark = document.createElement("kbd");
          mark.textContent = key;
          marks.append(mark, " ");
        }
        line.append(text, marks);
        return line;
      }),
    );
  }
}
