// Curves, predictions and records of the board that is chosen.
const recordsHere = () => data.records
  .filter((record) => record.board === state.board && (!state.request || record.request === state.request));
const rowByLabel = () => new Map(view().rows.map((row) => [row.label, row]));

const WATCHED = new Map([["watch/forget_accuracy", "to forget"], ["watch/retain_accuracy", "to keep"]]);

function drawCurves() {
  const rows = rowByLabel();
  const accuracies = new Map(), told = new Map();
  for (const record of recordsHere()) {
    const row = rows.get(record.label);
    if (!row || !fits(row)) continue;
    for (const curve of data.curves[record.key] || []) {
      const watched = WATCHED.get(curve.name);
      if (watched && curve.points.at(-1)[0] < 2) continue; // one step: before and after are on the board
      const found = watched ? accuracies : told;
      const name = watched ? record.label : `${record.label}\n${curve.name}\n${curve.unit}`;
      if (!found.has(name)) found.set(name, { row, curve, title: watched ? "accuracy" : curve.name, lines: [] });
      found.get(name).lines.push({ record, curve, kept: curve.name === "watch/retain_accuracy", watched });
    }
  }
  const none = (text) => el("p", { class: "notice" }, text);
  const cards = (found, text) => (found.size ? [...found.values()].map(curveCard) : [none(text)]);
  byId("curve-list").replaceChildren(...cards(accuracies, "No accuracy over steps for this board and filter: closed-form methods have one step, and the logs lie beside your own records."));
  byId("told-list").replaceChildren(...cards(told, "No method of this board and filter told of its steps."));
}

function curveCard({ row, curve, title, lines }) {
  const points = lines.flatMap(({ record, curve: own, kept, watched }) => own.points.map(([x, y]) => ({
    x, y, kept, part: watched || "", line: `${record.request}, seed ${record.seed}${watched ? `, images ${watched}` : ""}`,
  })));
  const whole = lines[0].watched ? [0, 1] : null;
  const [low, high] = d3.extent(points, (point) => point.y);
  const ofPart = (kept) => points.filter((point) => point.kept === kept);
  const colour = colourOf(row.regime);
  const plot = Plot.plot({
    width: 270, height: 150, marginLeft: 52, marginBottom: 32, marginTop: 16, style: { fontSize: "11px", background: "none" },
    ariaLabel: `${title} of ${row.label} from ${toText(points[0].y)} to ${toText(points.at(-1).y)}, between ${toText(low)} and ${toText(high)}`,
    x: { label: `${curve.unit} →`, ticks: 4, tickFormat: (step) => (Number.isInteger(step) ? String(step) : "") },
    y: { label: null, ticks: 4, nice: true, tickFormat: whole ? ".0%" : "~g", ...(whole && { domain: whole }) },
    marks: [
      Plot.line(ofPart(false), { x: "x", y: "y", z: "line", stroke: colour, strokeWidth: 1.5 }),
      Plot.line(ofPart(true), { x: "x", y: "y", z: "line", stroke: colour, strokeWidth: 1.5, strokeDasharray: "4 3" }),
      points.length < 3 ? Plot.dot(points, { x: "x", y: "y", fill: colour, r: 3 }) : null,
      Plot.tip(points, Plot.pointerX({ x: "x", y: "y", fill: "var(--ground)", title: (p) => `${p.line}\n${curve.unit} ${p.x}: ${toText(p.y)}` })),
    ],
  });
  picture(plot);
  const rows = points.map((point) => [point.line, point.x, point.y]);
  const runs = new Set(lines.map(({ record }) => record.key)).size;
  return el("figure", {},
    el("figcaption", {}, glyph(row.regime), ` ${row.label}: ${title} by ${curve.unit} `,
      el("span", { class: "quiet" }, `${runs} run${runs > 1 ? "s" : ""}${curve.every > 1 ? `, one point in ${curve.every}` : ""}`)),
    plot,
    el("button", { type: "button", "aria-label": `Copy as CSV: ${title} by ${curve.unit} of ${row.label}`, onclick: () => copy(csv([["run", curve.unit, title], ...rows]), "CSV") }, "Copy as CSV"));
}

function drawPredictions() {
  const list = byId("prediction-list");
  const known = recordsHere().filter((record) => data.predictions.by_key[record.key] && data.predictions.by_key[record.references.original]
    && record.key !== record.references.original);
  const select = byId("predicted");
  const labels = [...new Set(known.map((record) => record.label))];
  select.parentElement.hidden = !labels.length;
  if (!labels.length) {
    list.replaceChildren(el("p", { class: "notice" }, "No outputs are kept for these records: predictions are shown for requests by class in the embedded world, from the KEY.npz beside your own records."));
    return;
  }
  select.replaceChildren(...labels.map((label) => el("option", { value: label }, label)));
  const ranked = view().rows.filter((row) => labels.includes(row.label) && row.rank !== null);
  if (!labels.includes(state.predicted)) state.predicted = ranked.length ? ranked[0].label : labels[0];
  select.value = state.predicted;
  const own = known.filter((record) => record.label === state.predicted);
  const first = new Map(); // one seed of each request
  for (const record of own) if (!first.has(record.request) || record.seed < first.get(record.request).seed) first.set(record.request, record);
  list.replaceChildren(...[...first.values()].flatMap(predictionCards));
}

function predictionCards(record) {
  const world = data.predictions.worlds[board().key.dataset];
  const [after, before] = [record.key, record.references.original].map((key) => data.predictions.by_key[key]);
  const forgotten = record.request.split("+");
  return after.images.map((image, place) => {
    const at = before.images.indexOf(image);
    const label = world.labels[image];
    const name = world.names[label];
    const gone = forgotten.includes(name);
    return el("figure", {},
      el("figcaption", {}, `${name} `, el("span", { class: "quiet" }, `${gone ? "to be forgotten" : "to be kept"}; request ${record.request}, seed ${record.seed}`)),
      el("div", { class: "shown" },
        el("img", { src: world.images[image], alt: `a ${name} of the embedded world, test image ${image}`, width: 64, height: 64 }),
        topFive("before", at < 0 ? [] : before.top[at], label, forgotten, world.names),
        topFive("after", after.top[place], label, forgotten, world.names)));
  });
}

function topFive(head, pairs, label, forgotten, names) {
  return el("div", {}, el("p", { class: "head" }, head), el("ol", {}, ...pairs.map(([found, cosine]) => {
    const gone = forgotten.includes(names[found]);
    const marks = (found === label ? " ✓" : "") + (gone ? " ⊘" : "");
    return el("li", { class: gone ? "forgotten" : found === label ? "true" : null },
      el("span", {}, names[found] + marks), el("span", {}, cosine.toFixed(2)));
  })));
}

const RECORDS_AT_ONCE = 120;
function drawRecords() {
  const rows = rowByLabel();
  const here = recordsHere().filter((record) => !rows.has(record.label) || fits(rows.get(record.label)));
  const list = byId("record-list");
  list.replaceChildren(...here.slice(0, RECORDS_AT_ONCE).map(recordCard));
  if (here.length > RECORDS_AT_ONCE) {
    const rest = el("button", { type: "button", onclick: () => rest.replaceWith(...here.slice(RECORDS_AT_ONCE).map(recordCard)) },
      `Show the other ${here.length - RECORDS_AT_ONCE} records`);
    list.append(rest);
  }
  if (!here.length) list.append(el("p", { class: "quiet" }, data.records.length ? "No record fits the filter." : "The records' cards are left out of this page."));
}

function recordCard(record) {
  const card = el("details", { class: "card", id: `record-${record.key.slice(0, 12)}` },
    el("summary", {}, el("b", {}, record.label), ` ${record.request}, seed ${record.seed} `,
      el("span", { class: "quiet" }, `${record.key.slice(0, 12)} · ${record.origin === "own" ? "your record" : "reference record"}`)));
  card.addEventListener("toggle", () => { if (card.children.length === 1) card.append(...recordBody(record)); });
  return card;
}

function recordBody(record) {
  const list = (part) => el("dl", {}, ...Object.entries(part || {}).flatMap(([name, value]) => [
    el("dt", {}, name), el("dd", {}, typeof value === "object" ? JSON.stringify(value) : String(value)),
  ]));
  const rows = Object.entries(record.metrics || {}).map(([name, [value, low, high, n]]) => el("tr", {},
    el("th", { scope: "row" }, name), ...[value, low, high, n].map((each) => el("td", {}, each === null ? EMPTY : String(each)))));
  const command = record.command || "no command is recorded";
  return [
    el("p", {}, el("b", {}, "Repeat it")),
    el("pre", { tabindex: "0", "aria-label": `Command that repeats record ${record.key.slice(0, 12)}` }, command),
    el("p", {}, el("button", { type: "button", onclick: () => copy(record.command, "command") }, "Copy the command"), " ",
      el("span", { class: "quiet" }, `then compare: python -m benchmark verify ${record.key.slice(0, 12)}`)),
    el("p", {}, el("b", {}, "Key "), el("code", {}, record.key)),
    el("p", {}, el("b", {}, "Hyperparameters")), list(record.hparams),
    rows.length ? el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": `Metrics of record ${record.key.slice(0, 12)}` }, el("table", {},
      el("thead", {}, el("tr", {}, ...["metric (fractions)", "value", "low", "high", "n"].map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, ...rows))) : el("p", { class: "quiet" }, "Its metrics are left out of this page."),
    el("p", {}, el("b", {}, "Cost")), list(record.cost),
    el("p", {}, el("b", {}, "Provenance")), list(record.provenance),
    el("p", {}, el("b", {}, "Compared with")), list(record.references),
  ];
}
