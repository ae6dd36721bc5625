// The leaderboard: sorted and filtered here, but every number and text of it is made by the leaderboard's own code.
const headOf = (name) => view().heads[view().names.indexOf(name)];

const textOf = (row, name) => row.texts[view().names.indexOf(name)];

function sortValue(row, name) {
  if (name === "method") return row.label;
  if (name === "reads") return row.regime;
  if (name === "rank") return row.rank;
  if (name === "tier") return row.tier;
  if (name === "found_by") return textOf(row, name) || null;
  if (name === "cells") return Number.parseInt(textOf(row, name), 10);
  if (Object.hasOwn(row.costs, name)) return row.costs[name];
  const found = row.numbers[name];
  return found ? found[0] : null;
}

function sortedRows() {
  const rows = shownRows();
  if (!state.sort) return rows;
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
  const keyed = rows.map((row) => [sortValue(row, state.sort), row]);
  const missing = (value) => value === null || value === undefined || Number.isNaN(value);
  keyed.sort(([a], [b]) => (missing(a) || missing(b) ? missing(a) - missing(b) : state.way * compare(a, b)));
  return keyed.map(([, row]) => row); // what is missing is last, whichever way
}

function sortBy(name) {
  const better = (headOf(name) || "").endsWith("\u2191") ? -1 : 1;
  if (state.sort === name) state.way = -state.way;
  else [state.sort, state.way] = [name, better];
  drawTable();
  byId("board").querySelector(`[data-column="${CSS.escape(name)}"] button`).focus();
  say(`sorted by ${headOf(name)}, ${state.way > 0 ? "smallest" : "largest"} first`);
}

function drawTable() {
  const shown = view();
  const rows = sortedRows();
  const heads = shown.names.map((name, place) => el(
    "th",
    {
      scope: "col", "data-column": name, class: { method: "name", reads: "reads", found_by: "reads" }[name] || null,
      "aria-sort": state.sort === name ? (state.way > 0 ? "ascending" : "descending") : "none",
    },
    el("button", { type: "button", title: shown.metrics[name]?.title || null, onclick: () => sortBy(name) },
      shown.heads[place]),
  ));
  // The name first, so that it can stay in sight; on a narrow screen the score beside it.
  const first = ["method", ...(innerWidth < 640 ? [shown.ranked_by] : [])].map((name) => shown.names.indexOf(name)).filter((place) => place >= 0);
  const order = [...first, ...shown.names.map((_, place) => place).filter((place) => !first.includes(place))];
  const tiers = new Set();
  const isFirst = (row) => row.tier !== null && !tiers.has(row.tier) && Boolean(tiers.add(row.tier));
  byId("board-title").textContent = shown.title + (state.request ? ` · ${state.request}` : "");
  byId("board").querySelector("thead").replaceChildren(el("tr", {}, ...order.map((place) => heads[place])));
  byId("board").querySelector("tbody").replaceChildren(...rows.map((row) => el(
    "tr", { class: [row.reference && "reference", row.first && "best", row.own && "own", !state.sort && isFirst(row) && "tier"].filter(Boolean).join(" ") || null },
    ...order.map((place) => cell(row, shown.names[place], row.texts[place])),
  )));
  byId("nothing").hidden = rows.length > 0;
  byId("board-notes").replaceChildren(...shown.notes.map((note) => el("li", {}, note.replace(/^\u2013 /, ""))));
}

function cell(row, name, text) {
  if (name === "method") return nameCell(row);
  const sorted = state.sort === name ? "sorted" : null;
  if (name === "reads") return el("td", { class: sorted, style: "text-align:left" }, glyph(row.regime), " ", text);
  if (name === "found_by") return el("td", { class: sorted, style: "text-align:left" }, text);
  const why = row.why[name];
  if (!text && why) {
    return el("td", { class: sorted }, el(
      "button", { type: "button", class: "why", title: why, "aria-label": `empty: ${why}`, onclick: () => say(why) }, EMPTY,
    ));
  }
  const cut = text.search(/ [±[]/);
  if (cut < 0) return el("td", { class: sorted }, text);
  return el("td", { class: sorted }, text.slice(0, cut), el("span", { class: "ends" }, text.slice(cut)));
}

function nameCell(row) {
  const name = data.cards.includes(row.method)
    ? el("a", { href: `#method-${row.method}` }, row.label) : document.createTextNode(row.label);
  const marks = [];
  if (row.own) marks.push(el("span", { class: "badge", title: "from your own records, among those of the project" }, "yours"));
  if (row.brought) marks.push(el("span", { class: "badge", title: "unlearned elsewhere and brought as a checkpoint: what it read and cost is not known" }, "brought"));
  if (row.first) marks.push(el("span", { class: "mark", title: "not to be told from the best" }, " ≈"));
  return el("th", { scope: "row", class: "name", title: row.label }, name, ...marks);
}

function boardCsv() {
  const { key } = board();
  const shown = view();
  const metrics = shown.names.filter((name) => Object.hasOwn(shown.metrics, name));
  const costs = Object.keys(shown.costs);
  const heads = [...Object.keys(key), "request", "rank", "method", "regime", "reference",
    ...metrics.flatMap((name) => [name, `${name}_low`, `${name}_high`]), ...costs, "rank_best", "rank_worst", "tier", "front"];
  const lines = sortedRows().map((row) => [
    ...Object.values(key), state.request, row.rank, row.label, row.regime, Number(row.reference),
    ...metrics.flatMap((name) => row.numbers[name] || [null, null, null]),
    ...costs.map((name) => row.costs[name]), row.best, row.worst, row.tier, Number(row.front),
  ]);
  return csv([heads, ...lines]);
}

function boardLatex() {
  const [first, last] = view().latex;
  return [first, ...sortedRows().map((row) => row.latex), last].join("\n") + "\n";
}
