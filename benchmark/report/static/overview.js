// What the page opens on: three lines, a podium for each data regime and sentences, all told by the records.
function drawOverview() {
  const { overview, ranked_by: rankedBy } = view();
  byId("overview-board").textContent = view().title + (state.request ? ` · ${state.request}` : "");
  for (const name of ["asked", "reading", "leads"]) byId(name).textContent = overview[name];
  const letter = rankedBy === "score/quality" ? "Q" : "S";
  byId("podiums").replaceChildren(...overview.podiums.map(({ title, regime, steps }) => el("section", { class: "podium" },
    el("h3", {}, glyph(regime), ` ${title}`),
    el("ol", {}, ...steps.map((step) => podiumStep(step, letter))))));
  byId("podiums").hidden = !overview.podiums.length;
  byId("findings").hidden = !overview.findings.length;
  byId("findings-list").replaceChildren(...overview.findings.map((sentence) => el("li", {}, sentence)));
}

function podiumStep(step, letter) {
  const parts = [["E", step.left], ["D", step.lost]].filter(([, value]) => value !== null);
  const place = step.tier === null ? `rank ${step.rank}` : `tier ${step.tier}`;
  const rest = [...parts.map(([name, value]) => `${name} ${(100 * value).toFixed(1)} %`), place, ...(step.found ? [`found by ${step.found}`] : [])].join(" · ");
  return el("li", {}, el("span", { class: "step" }, methodName(step.label), el("b", {}, `${letter} ${step.score.toFixed(3)}`)),
    el("span", { class: "quiet" }, rest));
}

// A row's name, with a link to the method's card where there is one.
function methodName(label) {
  const method = label.split(" ")[0];
  return data.cards.includes(method) ? el("a", { href: `#method-${method}` }, label) : document.createTextNode(label);
}
