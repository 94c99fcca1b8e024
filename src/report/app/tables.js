// Tables that are sorted by a click on a head and copied as text with tabs.
function element(tag, text, parent) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

// Lists of what has one key, in the order in which keys come.
function grouped(list, key) {
  const groups = new Map();
  for (const item of list) {
    const name = key(item);
    groups.has(name) ? groups.get(name).push(item) : groups.set(name, [item]);
  }
  return groups;
}

// Gives a function that fills it: with heads, each a key and what is shown of it where that is another text, and rows. What it
// is sorted by stays.
function table(parent, title) {
  const card = element("div", undefined, parent);
  card.className = "card";
  const head = element("h3", title + " ", card);
  const copy = element("button", "copy", head);
  const grid = element("table", undefined, card);
  grid.className = "grid";
  const top = element("tr", undefined, element("thead", undefined, grid));
  const body = element("tbody", undefined, grid);
  let [keys, rows] = [[], []];
  let sorted = { by: null, down: false };
  const shown = (cell) => (typeof cell === "number" ? number(cell) : cell === null ? "–" : String(cell));
  const draw = () => {
    const by = keys.indexOf(sorted.by);
    [...top.children].forEach((cell, i) => {
      if (i === by) cell.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    const order = rows.slice();
    if (by >= 0) {
      order.sort((a, b) => {
        const [x, y] = [a[by], b[by]];
        if (x === null || y === null) return (x === null) - (y === null);
        const less = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
        return sorted.down ? -less : less;
      });
    }
    const lines = order.map((row) => {
      const line = element("tr");
      for (const cell of row) element("td", shown(cell), line).title = shown(cell);
      return line;
    });
    body.replaceChildren(...lines);
  };
  const headed = ([key, text = key]) => {
    const cell = element("th", text, top);
    cell.tabIndex = 0;
    const sort = () => {
      sorted = { by: key, down: sorted.by === key && !sorted.down };
      draw();
    };
    cell.addEventListener("click", sort);
    cell.addEventListener("keydown", (event) => event.key === "Enter" && sort());
  };
  copy.addEventListener("click", () => {
    const lines = [...grid.rows].map((row) => [...row.cells].map((cell) => cell.textContent).join("\t"));
    navigator.clipboard.writeText(lines.join("\n"));
  });
  return (heads, newRows) => {
    card.hidden = !heads.length;
    if (heads.some(([key], i) => key !== keys[i]) || heads.length !== keys.length) {
      keys = heads.map(([key]) => key);
      top.replaceChildren();
      heads.forEach(headed);
    }
    rows = newRows;
    draw();
  };
}

// Five significant digits, and no more than is needed.
function number(x) {
  if (!Number.isFinite(x)) return String(x);
  if (Number.isInteger(x)) return String(x);
  const size = Math.abs(x);
  return size >= 1e-3 && size < 1e6 ? x.toFixed(Math.max(0, Math.min(6, 4 - Math.floor(Math.log10(size))))) : x.toExponential(3);
}
