// The plots. Beside each stands a table with the same numbers; labels that would overlap are left out.
function drawPareto() {
  const target = byId("pareto");
  target.replaceChildren();
  const { axes, costs } = view();
  const rows = shownRows();
  if (!axes) return void target.append(el("p", { class: "quiet" }, "These records do not tell what is left of the forget set, or what is lost of the rest."));
  const select = byId("cost");
  select.replaceChildren(...Object.entries(costs).map(([name, { head }]) => el("option", { value: name }, head)));
  if (!Object.hasOwn(costs, state.cost)) state.cost = Object.keys(costs)[0] || "";
  select.value = state.cost;
  const [left, lost] = axes;
  const ends = (metric) => (metric[1] === null ? null : [percent(metric[1]), percent(metric[2])]);
  const points = rows.filter((row) => row.numbers[left] && row.numbers[lost]).map((row) => ({
    row, x: percent(row.numbers[left][0]), y: percent(row.numbers[lost][0]), edge: row.edge,
    xs: ends(row.numbers[left]), ys: ends(row.numbers[lost]),
    tip: tipOf(row, [...new Set([view().ranked_by, ...axes])].map((name) => `${axisLabel(name)}: ${row.numbers[name] ? number(name, row.numbers[name][0]) : EMPTY}`)),
  }));
  drawLegend(points.map((point) => point.row.regime));
  const byName = left !== data.residual;
  byId("trade-off-note").textContent = byName
    ? "These records lack the measures of E: in its place stands how much still answers to its name, which hides what an attack finds."
    : "Dotted: points of equal Q.";
  const gold = landmark(points, "retrain");
  const dashed = { strokeDasharray: "3,4", strokeOpacity: 0.6 };
  const named = data.qualities.map(([quality, curve]) => ({ quality, curve, end: curve.at(-1) }));
  scatter(target, points, {
    name: `What is left against what is lost, of ${points.length} methods; the numbers stand below`,
    xLabel: `left of the forget set: ${axisLabel(left)} →`, yLabel: `↑ lost of the rest: ${axisLabel(lost)}`,
    under: [
      ...(byName ? [] : named.map(({ curve }) => Plot.line(curve, { strokeDasharray: "1,4", strokeOpacity: 0.7 }))),
      ...(byName ? [] : [Plot.text(named, { x: (d) => d.end[0], y: (d) => d.end[1], text: (d) => `Q ${d.quality}`, dx: 4, dy: -6, textAnchor: "start", fill: "var(--quiet)" })]),
      ...(gold ? [Plot.ruleY([gold.y], dashed), Plot.ruleX([gold.x], dashed)] : []),
    ],
  });
  const cost = costs[state.cost];
  numbersTable(byId("pareto-numbers"), byId("board-title").textContent,
    ["method", "reads", axisLabel(left), axisLabel(lost), cost ? cost.head : "cost", "on the front"],
    rows.map((row) => [row.label, row.regime, toText(percent(row.numbers[left]?.[0])), toText(percent(row.numbers[lost]?.[0])),
      cost && row.costs[state.cost] !== null && row.costs[state.cost] !== undefined ? short(row.costs[state.cost] / cost.unit) : null, row.edge ? "yes" : "no"]));
}

function drawLegend(regimes) {
  byId("legend").replaceChildren(...[...Object.keys(data.looks), "unknown"]
    .filter((name) => regimes.some((regime) => regimeName(regime) === name))
    .map((name) => el("span", {}, glyph(name), `${name}: ${lookOf(name).means}`)));
}

function drawForest() {
  const target = byId("forest");
  target.replaceChildren();
  const metric = view().ranked_by;
  const { head, direction } = view().metrics[metric];
  const rows = shownRows().filter((row) => row.numbers[metric]);
  byId("forest-head").hidden = !rows.length;
  byId("forest-note").hidden = !rows.length;
  if (!rows.length) return;
  byId("forest-head").textContent = `${head} with its interval`;
  byId("forest-note").firstElementChild.textContent = direction === "\u2191" ? "Higher is better." : "Lower is better.";
  const means = rows.map((row) => row.numbers[metric][0]);
  const top = d3.max(means) * 1.12 || 1;
  const first = rows.find((row) => row.landmark && row.method === "original");
  const longest = d3.max(rows, (row) => Math.min(row.label.length, 26));
  const plot = Plot.plot({
    width: widthOf(target), height: rows.length * 19 + 60, marginLeft: longest * 7 + 14, marginRight: 20,
    style: { fontSize: "12px", background: "none" }, ariaLabel: `${head} of each method with its 95 % interval; the numbers stand in the table above`,
    x: { domain: [0, top], label: `${head} ${direction} →`, grid: true, clamp: true },
    y: { domain: rows.map((row) => row.label), label: null, tickFormat: (label) => (label.length > 26 ? `${label.slice(0, 25)}…` : label) },
    marks: [
      first ? Plot.ruleX([first.numbers[metric][0]], { strokeDasharray: "3,4", strokeOpacity: 0.6 }) : null,
      Plot.ruleY(rows.filter((row) => row.numbers[metric][1] !== null), {
        y: "label", x1: (row) => row.numbers[metric][1], x2: (row) => row.numbers[metric][2],
        stroke: (row) => colourOf(row.regime), strokeWidth: 2.5, strokeOpacity: 0.7,
      }),
      ...rows.map((row) => Plot.dot([row], {
        y: "label", x: (each) => each.numbers[metric][0], r: 5, symbol: lookOf(row.regime).symbol,
        fill: colourOf(row.regime), stroke: "currentColor", strokeWidth: 0.6,
      })),
    ],
    color: { type: "identity" },
  });
  picture(plot);
  target.append(plot);
}

function drawDeep() {
  const shown = view();
  const rows = shownRows();
  const surface = "forget/acc1";
  const there = shown.deep.length > 0 && Object.hasOwn(shown.metrics, surface);
  for (const id of ["deep", "relearn", "deep-numbers"]) byId(id).replaceChildren();
  byId("relearn-head").hidden = !there || shown.relearning.length < 2;
  byId("deep-numbers").parentElement.hidden = !there;
  if (!there) {
    byId("deep").append(el("div", { class: "notice" }, ...deepElsewhere()));
    return;
  }
  const boxes = shown.deep.slice(0, 2).map((metric) => [metric, el("div")]);
  byId("deep").append(...boxes.map(([, box]) => box)); // all before any is drawn: they share the width
  for (const [metric, box] of boxes) {
    const points = rows.filter((row) => row.numbers[surface] && row.numbers[metric]).map((row) => ({
      row, x: percent(row.numbers[surface][0]), y: percent(row.numbers[metric][0]),
      tip: tipOf(row, [surface, metric].map((name) => `${axisLabel(name)}: ${number(name, row.numbers[name][0])}`)),
    }));
    const gold = landmark(points, "retrain");
    scatter(box, points, {
      name: `${axisLabel(metric)} against ${axisLabel(surface)}; the numbers stand below`,
      height: Math.round(Math.max(300, Math.min(widthOf(box) * 0.8, 440))),
      xLabel: `${axisLabel(surface)} →`, yLabel: `↑ ${axisLabel(metric)}`,
      under: [
        Plot.line([[0, 0], [100, 100]], { strokeDasharray: "3,4", strokeOpacity: 0.6 }),
        ...(gold ? [Plot.ruleY([gold.y], { strokeDasharray: "1,4", strokeOpacity: 0.8 })] : []),
      ],
    });
  }
  if (shown.relearning.length > 1) drawRelearning(rows, shown.relearning);
  const names = [surface, ...shown.deep, ...shown.relearning.filter((name) => !shown.deep.includes(name))];
  numbersTable(byId("deep-numbers"), byId("board-title").textContent, ["method", "reads", ...names.map(axisLabel)],
    rows.map((row) => [row.label, row.regime, ...names.map((name) => (row.numbers[name] ? number(name, row.numbers[name][0]) : null))]));
}

function deepElsewhere() {
  const boards = data.boards.map((each, place) => ({ each, place })).filter(({ each }) => each.whole.deep.length);
  const way = "Suite oracle makes them; `python -m benchmark measure linear_probe` adds one to records that are there.";
  const go = (place) => { Object.assign(state, { board: place, request: "", sort: null }); redraw(); };
  return [
    el("p", {}, `This board holds no deep measures. ${boards.length ? "These do:" : way}`),
    ...boards.map(({ each, place }) => el("p", {}, el("button", { type: "button", onclick: () => go(place) }, `show ${each.whole.title}`))),
  ];
}

function drawRelearning(rows, metrics) {
  const shots = (metric) => Number(metric.split("@")[1]);
  const points = rows.flatMap((row) => metrics.filter((name) => row.numbers[name]).map((name) => ({
    row, label: row.label, x: shots(name), y: percent(row.numbers[name][0]),
  })));
  const target = byId("relearn");
  const last = d3.groups(points, (point) => point.label).map(([, own]) => own.at(-1)).sort((a, b) => b.y - a.y);
  const width = widthOf(target);
  const height = Math.max(320, 17 * last.length + 80);
  const plot = Plot.plot({
    width, height, marginRight: 150, marginLeft: 50, marginTop: 28, style: { fontSize: "12px", background: "none" },
    ariaLabel: "Accuracy on the forgotten class after fine-tuning on 1 to 16 of its images; the numbers stand below",
    x: { type: "log", base: 2, domain: d3.extent(points, (point) => point.x), ticks: metrics.map(shots), tickFormat: "d", label: "images of the class →" },
    y: { domain: [0, 100], label: "↑ forget acc ↓ (%)", grid: true }, color: { type: "identity" },
    marks: [
      Plot.line(points, { x: "x", y: "y", z: "label", stroke: (p) => colourOf(p.row.regime), strokeWidth: (p) => (p.row.landmark ? 3 : 1.5) }),
      ...d3.groups(points, (p) => regimeName(p.row.regime)).map(([name, own]) => Plot.dot(own, {
        x: "x", y: "y", r: 3.5, symbol: lookOf(name).symbol, fill: colourOf(name),
      })),
      Plot.tip(points, Plot.pointer({ x: "x", y: "y", fill: "var(--ground)", stroke: "var(--quiet)", title: (p) => `${p.label}\n${p.x} images: ${p.y.toFixed(1)} %` })),
    ],
  });
  picture(plot);
  const layer = d3.select(plot).append("g").attr("aria-hidden", "true");
  let above = 6;
  const room = height - 40;
  last.forEach((point, place) => { // the names at the right, pushed apart, each with a line to its end
    const wanted = plot.scale("y").apply(point.y);
    const y = Math.min(Math.max(wanted, above + 14), room - 14 * (last.length - place - 1));
    above = y;
    layer.append("path").attr("d", `M${width - 148},${wanted}L${width - 136},${y}`).attr("stroke", "var(--quiet)").attr("fill", "none");
    layer.append("text").attr("x", width - 133).attr("y", y + 4).attr("text-anchor", "start").attr("font-size", 12)
      .attr("font-weight", point.row.landmark ? 700 : 400).text(point.label.length > 20 ? `${point.label.slice(0, 19)}…` : point.label);
  });
  target.append(plot);
}

function drawPublished() {
  const target = byId("published-plot");
  target.replaceChildren();
  if (!data.published.length || typeof Plot === "undefined") {
    target.append(el("p", { class: "quiet" }, "No number is both published and measured in these records, so there is nothing to plot yet."));
    return;
  }
  const plot = Plot.plot({
    width: widthOf(target), height: 420, marginLeft: 50, style: { fontSize: "12px", background: "none" },
    ariaLabel: "Measured against published numbers; the tables below hold them",
    x: { label: "published (%) →" }, y: { label: "↑ measured (%)" },
    marks: [
      Plot.line([[0, 0], [100, 100]], { strokeDasharray: "3,4", strokeOpacity: 0.6 }),
      ...[[false, "circle", "--names"], [true, "square", "--forget"]].map(([before, symbol, colour]) => Plot.dot(
        data.published.filter((pair) => pair.before === before),
        { x: "published", y: "measured", symbol, fill: `var(${colour})`, fillOpacity: 0.7, r: 4 },
      )),
      Plot.tip(data.published, Plot.pointer({ x: "published", y: "measured", fill: "var(--ground)", title: (p) => `${p.where}\n${p.published} published, ${p.measured.toFixed(2)} measured` })),
    ],
  });
  picture(plot);
  target.append(el("p", { class: "quiet" }, "Squares: before forgetting; circles: after. On the dashed line the two agree."), plot);
}
