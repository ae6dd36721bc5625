// What all parts of the page share: the data, what is chosen, and how an element is made. Text is never read as HTML.
const data = await unpacked(document.getElementById("data").textContent);
const state = {
  board: 0, request: "", hidden: new Set(), references: true, search: "", sort: null, way: 1,
  cost: "unlearn_seconds", bars: false, predicted: "", one: "", other: "",
};

// The data are JSON, packed by gzip and written in base 64.
async function unpacked(text) {
  const packed = Uint8Array.from(atob(text.trim()), (sign) => sign.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}
const EMPTY = "\u2205";
const byId = (id) => document.getElementById(id);

function el(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const board = () => data.boards[state.board];
const view = () => (state.request && board().single[state.request]) || board().whole;
const regimeName = (regime) => (Object.hasOwn(data.looks, regime) ? regime : "unknown");
const lookOf = (regime) => (Object.hasOwn(data.looks, regime) ? data.looks[regime] : data.unknown);
const colourOf = (regime) => `var(--${regimeName(regime).replace("+", "-")})`;

function fits(row) {
  return !state.hidden.has(regimeName(row.regime)) && (state.references || !row.reference)
    && row.label.toLowerCase().includes(state.search.toLowerCase());
}
// Rows by their score, baselines where theirs puts them.
function shownRows() {
  const places = new Map(view().order.map((label, place) => [label, place]));
  return view().rows.filter(fits).sort((a, b) => places.get(a.label) - places.get(b.label));
}

const SYMBOLS = {
  circle: "symbolCircle", square: "symbolSquare", triangle: "symbolTriangle", diamond: "symbolDiamond",
  star: "symbolStar", cross: "symbolCross", wye: "symbolWye",
};
function glyph(regime) {
  const svg = d3.create("svg").attr("class", "glyph").attr("viewBox", "-8 -8 16 16").attr("aria-hidden", "true");
  svg.append("path").attr("d", d3.symbol(d3[SYMBOLS[lookOf(regime).symbol]], 90)()).attr("fill", colourOf(regime));
  return svg.node();
}

function number(metric, value) {
  const { scale, digits } = view().metrics[metric];
  return (value * scale).toFixed(digits);
}
const short = (value) => (value >= 100 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(3)));

// A metric's head with its direction and unit, as an axis says it.
function axisLabel(metric) {
  const { head, direction, scale } = view().metrics[metric];
  return `${head} ${direction}${scale === 100 ? " (%)" : ""}`;
}

let saying = null;
function say(text) {
  byId("said").textContent = text;
  clearTimeout(saying);
  saying = setTimeout(() => { byId("said").textContent = ""; }, 6000);
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} copied`);
  } catch {
    byId("copytext").value = text;
    byId("copybox").showModal();
    byId("copytext").select();
  }
}

// A finished plot is one picture with one name: the names that the library gives to its parts go.
function picture(plot) {
  plot.setAttribute("role", "img");
  for (const part of plot.querySelectorAll("[aria-label], [aria-description]")) {
    part.removeAttribute("aria-label");
    part.removeAttribute("aria-description");
  }
  return plot;
}

const csvCell = (value) => {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};
const csv = (lines) => lines.map((line) => line.map(csvCell).join(",")).join("\n") + "\n";

// A plain table with a button that copies it.
function numbersTable(target, caption, heads, rows) {
  target.replaceChildren(
    el("table", {},
      el("caption", {}, caption, " ",
        el("button", { type: "button", onclick: () => copy(csv([heads, ...rows]), "CSV") }, "Copy as CSV")),
      el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((cell, place) => (
        place === 0 ? el("th", { scope: "row" }, String(cell)) : el("td", {}, cell === null ? EMPTY : String(cell))
      )))))),
  );
}
