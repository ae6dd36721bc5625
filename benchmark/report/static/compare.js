// Two methods side by side, with the verdict of the paired test; and one method beside all others.
function drawCompare() {
  const rows = new Map(view().order.map((label) => [label, view().rows.find((row) => row.label === label)]));
  const labels = [...rows.keys()].filter((label) => rows.get(label).numbers[view().ranked_by]);
  byId("compare").hidden = labels.length < 2;
  if (labels.length < 2) return;
  const leader = labels.find((label) => rows.get(label).rank === 1) || labels[0];
  if (!labels.includes(state.one)) state.one = leader;
  if (!labels.includes(state.other)) {
    const second = labels.find((label) => rows.get(label).rank !== null && label !== state.one);
    state.other = second || labels.find((label) => label !== state.one);
  }
  for (const [id, chosen] of [["one", state.one], ["other", state.other]]) {
    byId(id).replaceChildren(...labels.map((label) => el("option", { value: label }, label)));
    byId(id).value = chosen;
  }
  byId("verdict").textContent = verdict();
  byId("verdict-notes").textContent = verdictNotes();
  const [one, other] = [rows.get(state.one), rows.get(state.other)];
  drawPair(one, other);
  drawByRequest();
  drawBeside();
}

// What the paired test says of the two: over requests, corrected for all questions that the board asks.
function pairedRow() {
  const table = state.request === "" && (board().beside || {})[state.other];
  return table ? { table, row: table.rows.find(([label]) => label === state.one) } : {};
}

function verdict() {
  if (state.one === state.other) return "Choose two methods.";
  const { table, row } = pairedRow();
  if (!row) {
    return "No paired test: it needs three requests, of both methods. The numbers below are all that these records say.";
  }
  const said = Object.fromEntries(table.heads.map((head, place) => [head, row[place]]));
  const [, difference, interval] = row;
  const words = { better: `${state.one} is better than ${state.other}`, worse: `${state.one} is worse than ${state.other}` };
  const found = words[said.verdict] || `${state.one} and ${state.other} cannot be told apart`;
  return `${found}: ${view().metrics[view().ranked_by].head} differs by ${difference} ${interval} over ${said.requests} requests, p ${said["p (Holm)"]}.`;
}

function verdictNotes() {
  const { row } = pairedRow();
  return row ? "Paired over requests; interval of this pair alone, p and verdict by Holm's correction for all questions of the board." : "";
}

function drawPair(one, other) {
  const shown = view();
  const metrics = [...new Set([shown.ranked_by, "score/quality", "score/residual", "score/damage", ...shown.names])]
    .filter((name) => Object.hasOwn(shown.metrics, name) && (one.numbers[name] || other.numbers[name]));
  const metric = (name) => marked(shown.metrics[name].direction, [one, other].map((row) => row.numbers[name]?.[0]), (value) => number(name, value));
  const cost = (name) => marked("\u2193", [one, other].map((row) => row.costs[name]), (value) => short(value / shown.costs[name].unit));
  const rows = [
    ["reads", one.regime, other.regime],
    ["rank", one.rank ?? "baseline", other.rank ?? "baseline"],
    ...(shown.names.includes("found_by") ? [["found by", textOf(one, "found_by"), textOf(other, "found_by")]] : []),
    ...metrics.map((name) => [axisLabel(name), ...metric(name)]),
    ...Object.keys(shown.costs).map((name) => [`${shown.costs[name].head} \u2193`, ...cost(name)]),
  ];
  numbersTable(byId("compare-table"), shown.title, ["\u2713 the better mean", one.label, other.label], rows);
}

// Two values as texts, a tick before the better one: it says nothing of chance.
function marked(direction, values, textOf) {
  const known = values.map((value) => (typeof value === "number" ? value : null));
  const lower = direction === "\u2193";
  const best = known.includes(null) || known[0] === known[1] || !direction ? -1 : Number((known[1] < known[0]) === lower);
  return known.map((value, place) => (value === null ? null : `${place === best ? "\u2713 " : ""}${textOf(value)}`));
}

// The score request by request: what the paired test is made of.
function drawByRequest() {
  const singles = Object.entries(board().single);
  const metric = view().ranked_by;
  const show = state.request === "" && singles.length > 1;
  byId("by-request").parentElement.hidden = !show;
  if (!show) return;
  const scoreOf = (single, label) => {
    const found = single.rows.find((row) => row.label === label)?.numbers[metric];
    return found ? number(metric, found[0]) : null;
  };
  numbersTable(byId("by-request"), `${axisLabel(metric)} by request`, ["request", state.one, state.other],
    singles.map(([request, single]) => [request, scoreOf(single, state.one), scoreOf(single, state.other)]));
}

// One row beside all others, on boards with requests enough to say something.
function drawBeside() {
  const table = (board().beside || {})[state.one];
  byId("beside").hidden = !table || state.request !== "";
  if (byId("beside").hidden) return;
  byId("beside-head").textContent = `${state.one} beside all others`;
  numbersTable(byId("beside-table"), `${byId("board-title").textContent}: beside ${state.one}`, table.heads, table.rows);
  byId("beside-notes").replaceChildren(...table.notes.map((note) => el("li", {}, note.replace(/^\u2013 /, ""))));
}
