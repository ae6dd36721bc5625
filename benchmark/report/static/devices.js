// Seconds of unlearning by chip, for what the chosen board asks, on every chip that has records of it.
function drawDevices() {
  const { chips, cells, rows } = data.devices[board().devices];
  const regimes = new Map(rows.map((row) => [row.label, row.regime]));
  const fitting = rows.filter((row) => fits({ label: row.label, regime: regimes.get(row.label), reference: false }));
  const marks = chips.map((chip, place) => ({ chip, symbol: ["circle", "square", "triangle", "diamond", "star", "cross"][place % 6] }));
  const target = byId("devices-plot");
  target.replaceChildren();
  const points = fitting.flatMap((row) => row.seconds
    .map((seconds, place) => ({ label: row.label, seconds, chip: chips[place], symbol: marks[place].symbol, regime: row.regime, cells: row.cells[place] }))
    .filter((point) => point.seconds > 0));
  byId("devices-text").textContent = chips.length > 1
    ? "Mean seconds by the clock, over the cells that all chips ran; * where a method has no cell that all of them ran."
    : "All records of what this board asks are from one chip; records of another one stand beside it here.";
  byId("devices-legend").replaceChildren(...marks.map(({ chip }, place) => el("span", {}, chipGlyph(marks[place].symbol), `${chip}: ${cells[place]} cells`)));
  if (points.length) {
    const ordered = d3.groups(points, (point) => point.label).sort(([, a], [, b]) => d3.min(a, (p) => p.seconds) - d3.min(b, (p) => p.seconds)).map(([label]) => label);
    const longest = d3.max(ordered, (label) => Math.min(label.length, 26));
    target.append(picture(Plot.plot({
      width: widthOf(target), height: ordered.length * 19 + 60, marginLeft: longest * 7 + 14, marginRight: 20,
      style: { fontSize: "12px", background: "none" }, ariaLabel: `Seconds of unlearning of ${ordered.length} methods on ${chips.length} chips; the numbers stand below`,
      x: { type: "log", label: "seconds ↓ →", grid: true, ticks: 6, tickFormat: "~g" },
      y: { domain: ordered, label: null, tickFormat: (label) => (label.length > 26 ? `${label.slice(0, 25)}…` : label) },
      color: { type: "identity" },
      marks: [
        Plot.link(d3.groups(points, (p) => p.label).map(([label, own]) => ({ label, ends: d3.extent(own, (p) => p.seconds) })), {
          y: "label", x1: (d) => d.ends[0], x2: (d) => d.ends[1], stroke: "var(--line)", strokeWidth: 2,
        }),
        ...points.map((point) => Plot.dot([point], {
          y: "label", x: "seconds", r: 5, symbol: point.symbol, fill: colourOf(point.regime), stroke: "currentColor", strokeWidth: 0.6,
        })),
        Plot.tip(points, Plot.pointer({ x: "seconds", y: "label", fill: "var(--ground)", stroke: "var(--quiet)", title: (p) => `${p.label}\n${p.chip}\n${short(p.seconds)} s, ${p.cells} cells` })),
      ],
    })));
  }
  const text = (row, seconds) => (seconds === null ? null : `${short(seconds)}${row.alike ? "" : " *"}`);
  numbersTable(byId("devices-numbers"), byId("board-title").textContent, ["method", ...chips.flatMap((chip) => [`seconds, ${chip}`, "cells"])],
    fitting.map((row) => [row.label, ...row.seconds.flatMap((seconds, place) => [text(row, seconds), row.cells[place]])]));
}

function chipGlyph(symbol) {
  const svg = d3.create("svg").attr("class", "glyph").attr("viewBox", "-8 -8 16 16").attr("aria-hidden", "true");
  svg.append("path").attr("d", d3.symbol(d3[SYMBOLS[symbol]], 90)()).attr("fill", "currentColor");
  return svg.node();
}
