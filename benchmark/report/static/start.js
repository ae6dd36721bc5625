// The choices at the top, and what they redraw.
const KEY_PARTS = ["model", "dataset", "suite", "kind", "tuned", "device"];
const OFTEN_ALIKE = ["tuned", "device"]; // shown where there is a choice
const UNTUNED = "defaults";
function partOf(key, part) {
  if (part === "device") return `${key.device} · ${key.precision}`;
  return part === "tuned" && !key.tuned ? UNTUNED : key[part];
}

function fillSelects() {
  const { key } = board();
  let left = data.boards.map((each, place) => [each.key, place]);
  for (const part of KEY_PARTS) {
    const select = byId(part);
    const values = [...new Set(left.map(([each]) => partOf(each, part)))];
    select.replaceChildren(...values.map((value) => el("option", { value }, value)));
    select.value = partOf(key, part);
    left = left.filter(([each]) => partOf(each, part) === partOf(key, part));
    if (OFTEN_ALIKE.includes(part)) byId(`${part}-label`).hidden = values.length < 2;
  }
  const requests = board().requests;
  const several = Object.keys(board().single).length > 0;
  byId("request").replaceChildren(...(several ? [el("option", { value: "" }, `all ${requests.length} requests`)] : []),
    ...requests.map((request) => el("option", { value: several ? request : "" }, request)));
  byId("request").value = state.request;
}

// The first board with the wanted part that keeps as much as it can of the others.
function choose(part, value) {
  const { key } = board();
  const before = KEY_PARTS.slice(0, KEY_PARTS.indexOf(part));
  const after = KEY_PARTS.slice(KEY_PARTS.indexOf(part) + 1);
  const fitting = data.boards.map((each, place) => ({ place, key: each.key, rows: each.whole.rows.length })).filter((each) => partOf(each.key, part) === value
    && before.every((other) => partOf(each.key, other) === partOf(key, other)));
  const kept = (each) => after.filter((other) => partOf(each.key, other) === partOf(key, other)).length;
  fitting.sort((a, b) => kept(b) - kept(a) || b.rows - a.rows || a.place - b.place);
  if (!fitting.length) return;
  state.board = fitting[0].place;
  if (!Object.hasOwn(board().single, state.request)) state.request = "";
  state.sort = null;
  redraw();
}

// The board that the page opens on: one that tells methods apart (it has tiers) before one of too few requests, then real
// images before drawn ones, with Q before without, beside models that were trained again before one whose E is measured from
// chance, then most requests and rows.
function opening() {
  const decides = (each) => each.whole.rows.some((row) => row.tier !== null);
  const again = (each) => each.whole.rows.some((row) => row.regime === "pretraining");
  const byQ = (each) => each.whole.ranked_by === "score/quality";
  const worth = (each) => [decides(each), !each.drawn, byQ(each), again(each), each.requests.length, each.whole.rows.length];
  const better = (a, b) => {
    const place = a.findIndex((value, at) => value !== b[at]);
    return place >= 0 && Number(a[place]) > Number(b[place]);
  };
  return data.boards.reduce((best, each, place) => (better(worth(each), worth(data.boards[best])) ? place : best), 0);
}

function fillRegimes() {
  const names = [...Object.keys(data.looks), "unknown"]
    .filter((name) => data.boards.some((each) => each.whole.rows.some((row) => regimeName(row.regime) === name)));
  byId("regimes").replaceChildren(...names.map((name) => el("label", { class: "tick" },
    el("input", {
      type: "checkbox", checked: true, value: name, onchange: (event) => {
        if (event.target.checked) state.hidden.delete(name); else state.hidden.add(name);
        redraw();
      },
    }), glyph(name), name)));
}

function redraw() {
  fillSelects();
  for (const draw of [drawOverview, drawTable, drawForest, drawCompare, drawPareto, drawDeep, drawCurves, drawPredictions, drawDevices, drawRecords]) draw();
}

const THEMES = [["", "as the system"], ["light", "light"], ["dark", "dark"]];
function setTheme(theme) {
  const [value, name] = THEMES.find(([each]) => each === theme) || THEMES[0];
  if (value) document.documentElement.dataset.theme = value; else delete document.documentElement.dataset.theme;
  byId("theme").textContent = `Theme: ${name}`;
  try { localStorage.setItem("clip-unlearning-theme", value); } catch { /* a page without storage keeps no theme */ }
}
function savedTheme() {
  try { return localStorage.getItem("clip-unlearning-theme") || ""; } catch { return ""; }
}

byId("theme").addEventListener("click", () => {
  const now = THEMES.findIndex(([each]) => each === (document.documentElement.dataset.theme || ""));
  setTheme(THEMES[(now + 1) % THEMES.length][0]);
});
setTheme(savedTheme());
byId("copyclose").addEventListener("click", () => byId("copybox").close());

if (data.boards.length) {
  state.board = opening();
  for (const part of KEY_PARTS) byId(part).addEventListener("change", (event) => choose(part, event.target.value));
  byId("request").addEventListener("change", (event) => { state.request = event.target.value; redraw(); });
  byId("references").addEventListener("change", (event) => { state.references = event.target.checked; redraw(); });
  byId("search").addEventListener("input", (event) => { state.search = event.target.value.trim(); redraw(); });
  byId("cost").addEventListener("change", (event) => { state.cost = event.target.value; drawPareto(); drawDeep(); });
  byId("bars").addEventListener("change", (event) => { state.bars = event.target.checked; drawPareto(); });
  byId("predicted").addEventListener("change", (event) => { state.predicted = event.target.value; drawPredictions(); });
  for (const id of ["one", "other"]) byId(id).addEventListener("change", (event) => { state[id] = event.target.value; drawCompare(); });
  byId("swap").addEventListener("click", () => { [state.one, state.other] = [state.other, state.one]; drawCompare(); });
  byId("copy-csv").addEventListener("click", () => copy(boardCsv(), "CSV"));
  byId("copy-latex").addEventListener("click", () => copy(boardLatex(), "LaTeX"));
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  fillRegimes();
  redraw();
  drawPublished();
  let width = innerWidth;
  let waiting = null;
  window.addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(() => { drawTable(); drawForest(); drawPareto(); drawDeep(); drawDevices(); drawPublished(); }, 150);
  });
} else {
  drawPublished();
}
shownLater.push((name) => { if (name === "published") drawPublished(); });
shownLater.push((name) => { if (name === "boards" && data.boards.length) redraw(); });
if (location.hash) openTarget();
document.documentElement.dataset.ready = "yes";
