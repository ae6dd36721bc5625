// A scatter of rows: how large a point is, where its name has room, and what it tells when pointed at.
const widthOf = (target) => Math.max(280, Math.min(target.clientWidth || 640, 980));
const percent = (value) => (value === null || value === undefined ? null : value * 100);
const toText = (value) => (value === null || value === undefined ? null : +value.toPrecision(6));

function radius(row, rows) {
  const known = rows.map((each) => each.costs[state.cost]).filter((cost) => cost > 0);
  const cost = row.costs[state.cost];
  if (!(cost > 0) || !known.length) return 4.5;
  const [low, high] = d3.extent(known).map(Math.log10);
  return high > low ? 4.5 + 7 * ((Math.log10(cost) - low) / (high - low)) : 7;
}

// Names beside their points: the important first, and only where there is room.
function placeLabels(svg, points, width, height, margin) {
  const taken = points.map(({ x, y, r }) => [x - r, y - r, x + r, y + r]);
  const free = (box) => box[0] >= margin.left + 2 && box[2] <= width - 2 && box[1] >= margin.top - 12 && box[3] <= height - margin.bottom
    && !taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1]);
  const layer = d3.select(svg).append("g").attr("class", "labels").attr("aria-hidden", "true");
  for (const point of [...points].sort((a, b) => b.weight - a.weight)) {
    const text = point.label.length > 28 ? `${point.label.slice(0, 27)}…` : point.label;
    const long = text.length * 6.6 + 2;
    const { x, y, r } = point;
    const near = [
      [x + r + 3, y - 7], [x - r - 3 - long, y - 7], [x - long / 2, y - r - 16], [x - long / 2, y + r + 2],
      [x + r + 1, y - r - 13], [x + r + 1, y + r - 1], [x - r - 1 - long, y - r - 13], [x - r - 1 - long, y + r - 1],
    ];
    const far = [16, 30, 46, 64, 84].flatMap((away) => FAR.map(([dx, dy]) => [
      x + dx * (r + away) - (dx < -0.3 ? long : dx > 0.3 ? 0 : long / 2), y + dy * (r + away) - 7, true,
    ]));
    const found = [...near, ...far].find(([left, top]) => free([left, top, left + long, top + 14]));
    if (!found) continue;
    const [left, top, apart] = found;
    taken.push([left, top, left + long, top + 14]);
    if (apart) { // too far to be read beside its point: a line leads to it
      const end = [Math.max(left, Math.min(x, left + long)), top + (top + 7 < y ? 13 : 2)];
      layer.append("path").attr("d", `M${x},${y}L${end}`).attr("stroke", "var(--quiet)").attr("stroke-width", 0.8);
    }
    layer.append("text").attr("x", left + 1).attr("y", top + 11).attr("text-anchor", "start").attr("font-size", 12)
      .attr("font-weight", point.bold ? 700 : 400).text(text);
  }
}
const FAR = [[0.9, -0.4], [-0.9, -0.4], [0.9, 0.4], [-0.9, 0.4], [0, -1], [0, 1], [1, 0], [-1, 0], [0.6, -0.8], [-0.6, -0.8], [0.6, 0.8], [-0.6, 0.8]];

// A scatter of rows: points of {row, x, y, tip, bars}, in the plot's units.
function scatter(target, points, options) {
  const width = options.width || widthOf(target);
  const height = options.height || Math.round(Math.max(300, Math.min(width * 0.62, 520)));
  const margin = { top: 28, right: 24, bottom: 44, left: 50 };
  const rows = points.map((point) => point.row);
  for (const point of points) point.r = radius(point.row, rows);
  const marks = [Plot.gridX({ strokeOpacity: 0.12 }), Plot.gridY({ strokeOpacity: 0.12 }), ...(options.under || [])];
  if (state.bars) {
    const bar = { stroke: "currentColor", strokeOpacity: 0.35 };
    marks.push(
      Plot.ruleY(points.filter((p) => p.xs), { ...bar, y: "y", x1: (p) => p.xs[0], x2: (p) => p.xs[1] }),
      Plot.ruleX(points.filter((p) => p.ys), { ...bar, x: "x", y1: (p) => p.ys[0], y2: (p) => p.ys[1] }),
    );
  }
  const big = [...points].sort((a, b) => b.r - a.r); // small points above large ones
  for (const point of big) {
    marks.push(Plot.dot([point], {
      x: "x", y: "y", r: point.r, symbol: lookOf(point.row.regime).symbol, fill: colourOf(point.row.regime),
      fillOpacity: point.row.reference ? 0.45 : 0.85, stroke: "currentColor", strokeWidth: onFront(point) ? 2 : 0.6,
    }));
  }
  marks.push(
    Plot.dot(points.filter((p) => p.row.landmark), { x: "x", y: "y", r: 17, stroke: "currentColor", strokeWidth: 1.5 }),
    Plot.tip(points, Plot.pointer({ x: "x", y: "y", title: "tip", fill: "var(--ground)", stroke: "var(--quiet)" })),
  );
  const plot = Plot.plot({
    width, height, marginTop: margin.top, marginRight: margin.right, marginBottom: margin.bottom, marginLeft: margin.left,
    style: { fontSize: "12px", background: "none" },
    x: { label: options.xLabel, domain: options.xDomain || [-2, 102] },
    y: { label: options.yLabel, domain: options.yDomain || [-2, 102] },
    r: { type: "identity" }, ariaLabel: options.name, marks,
  });
  picture(plot);
  const [sx, sy] = [plot.scale("x"), plot.scale("y")];
  placeLabels(plot, points.map((point) => ({
    x: sx.apply(point.x), y: sy.apply(point.y), r: point.row.landmark ? 17 : point.r, label: point.row.label,
    bold: point.row.landmark, weight: (point.row.landmark ? 4 : 0) + (onFront(point) ? 2 : 0) + (point.row.rank ? 1 / point.row.rank : 0),
  })), width, height, margin);
  target.append(plot);
}

// In the trade-off plot the front of its own two axes, elsewhere the board's.
const onFront = (point) => point.edge ?? point.row.front;
const landmark = (points, name) => points.find((point) => point.row.landmark && point.row.method === name);

function tipOf(row, lines) {
  const cost = view().costs[state.cost];
  const spent = cost && row.costs[state.cost] !== null ? [`${cost.head} ${short(row.costs[state.cost] / cost.unit)}`] : [];
  return [row.label, `reads ${row.regime || "?"}`, ...lines, ...spent].join("\n");
}
