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

function table(parent, title, heads, rows) {
  const card = element("div", undefined, parent);
  card.className = "card";
  const head = element("h3", title + " ", card);
  const copy = element("button", "copy", head);
  const grid = element("table", undefined, card);
  grid.className = "grid";
  const top = element("tr", undefined, element("thead", undefined, grid));
  const body = element("tbody", undefined, grid);
  let sorted = { by: -1, down: false };
  const shown = (cell) => (typeof cell === "number" ? number(cell) : cell === null ? "–" : String(cell));
  const draw = () => {
    body.replaceChildren();
    const order = rows.slice();
    if (sorted.by >= 0) {
      const key = (row) => row[sorted.by];
      order.sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === null || y === null) return (x === null) - (y === null);
        const less = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
        return sorted.down ? -less : less;
      });
    }
    for (const row of order) {
      const line = element("tr", undefined, body);
      for (const cell of row) element("td", shown(cell), line).title = shown(cell);
    }
  };
  heads.forEach((name, i) => {
    const cell = element("th", name, top);
    cell.tabIndex = 0;
    const sort = () => {
      sorted = { by: i, down: sorted.by === i && !sorted.down };
      for (const other of top.children) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      draw();
    };
    cell.addEventListener("click", sort);
    cell.addEventListener("keydown", (event) => event.key === "Enter" && sort());
  });
  copy.addEventListener("click", () => {
    const lines = [...grid.rows].map((row) => [...row.cells].map((cell) => cell.textContent).join("\t"));
    navigator.clipboard.writeText(lines.join("\n"));
  });
  draw();
}

// Five significant digits, and no more than is needed.
function number(x) {
  if (!Number.isFinite(x)) return String(x);
  if (Number.isInteger(x)) return String(x);
  const size = Math.abs(x);
  return size >= 1e-3 && size < 1e6 ? x.toFixed(Math.max(0, Math.min(6, 4 - Math.floor(Math.log10(size))))) : x.toExponential(3);
}
