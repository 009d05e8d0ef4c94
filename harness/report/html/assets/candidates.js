/* The candidates: how each compares with the base over all tasks. */

/**
 * A mean over tasks in hundredths of the scale: value, low, high.
 * @param {Estimate | null} estimate
 * @returns {(number | null)[]}
 */
function points(estimate) {
  return estimate ? estimate.map((end) => (end === null ? null : 100 * end)) : [null, null, null];
}

/** The value and the interval of an estimate as text. @param {Estimate | null} estimate */
function pointsText(estimate) {
  const [value, low, high] = points(estimate);
  return { value: changeText(value, "points"), interval: intervalText(low, high, "points") };
}

/** A share and its interval as text. @param {Estimate | null} estimate */
function shareText(estimate) {
  const [value, low, high] = estimate ?? [null, null, null];
  return {
    value: percentText(value),
    interval: low === null || high === null ? "" : `[${percentText(low)}, ${percentText(high)}]`,
  };
}

/** Over how many tasks retention is: those on which the base is significantly above chance. @param {Overall} overall */
function retentionTasks(overall) {
  return `over ${overall.retentionTasks} of ${d3.sum(Object.values(overall.verdicts))} tasks`;
}

/** How many tasks have each verdict, as a bar and as text. @param {Record<string, number>} verdicts */
function verdictBar(verdicts) {
  const known = VERDICTS.filter((verdict) => verdicts[verdict]);
  const parts = known.map((verdict) =>
    h("span", { class: `part ${verdict.replace(" ", "-")}`, "--parts": verdicts[verdict] }, verdicts[verdict]),
  );
  const words = known.map((verdict) => `${verdicts[verdict]} ${verdict}`).join(", ") || "every task is a target";
  return [h("div", { class: "verdicts", "aria-hidden": "true" }, parts), h("div", { class: "sub" }, words)];
}

function drawCards() {
  const { overall, changed, targets } = data.candidates[state.candidate];
  const scores = data.scores.filter(
    (score) => score.candidate === state.candidate && score.kind === "headline" && !score.target && score.lost !== null,
  );
  const [lost, gained] = [d3.sum(scores, (score) => score.lost), d3.sum(scores, (score) => score.gained)];
  const card = (/** @type {string} */ title, /** @type {Child | Child[]} */ main, /** @type {Child[]} */ more) =>
    h("div", { class: "card" }, h("h3", {}, title), h("div", { class: "main" }, main), more);
  const sub = (/** @type {string} */ text) => [h("div", { class: "sub" }, text)];
  const [mean, retention, tuned] = [pointsText(overall.meanChange), shareText(overall.retention), pointsText(overall.plasticity)];
  const worst = overall.meanLoss ? overall.worst : null;
  byId("cards").replaceChildren(
    card("Verdict", overall.verdict ? badge(overall.verdict) : NONE, verdictBar(overall.verdicts)),
    card(
      "Mean change, points",
      mean.value,
      sub(
        overall.meanChange
          ? `${mean.interval}; losses alone ${valueText(100 * (overall.meanLoss ?? 0), "points")}`
          : "no task has a bounded scale",
      ),
    ),
    card(
      "Retention",
      retention.value,
      sub(overall.retention ? `${retention.interval} of the base's score above chance, ${retentionTasks(overall)}` : "the base is not significantly above chance on any task"),
    ),
    card(
      "Items",
      flipsText(lost, gained, " "),
      sub(`lost and gained where answers are correct or incorrect; ${countText(changed)} changed in total`),
    ),
    card(
      "Worst task",
      breakable(worst || NONE),
      sub(worst ? "the largest loss on its scale" : overall.worst ? "no task lost score" : "no task has a bounded scale"),
    ),
    card("Targets, points", tuned.value, sub(targets.length ? `${tuned.interval} on ${targets.join(", ")}` : "no target was named (--target)")),
  );
}

/** A table of the candidates, where there are several. */
function makeCandidates() {
  const { candidates } = data;
  if (candidates.length < 2) {
    byId("candidates").remove();
    return null;
  }
  const options = candidates.map((candidate, place) => /** @type {[string, string]} */ ([String(place), candidate.name]));
  byId("candidate-tools").append(chooser("Candidate", options, "0", (value) => chooseCandidate(Number(value))));
  const pick = (/** @type {Candidate} */ row) => chooseCandidate(candidates.indexOf(row));
  const name = (/** @type {Candidate} */ row) =>
    h("button", { type: "button", class: "link", "data-focus": `pick ${row.name}`, click: () => pick(row) }, breakable(row.name));
  return new VirtualTable({
    host: byId("candidate-table"),
    label: "Candidates",
    noun: ["candidate", "candidates"],
    head: { id: "name", group: "", label: "Candidate", width: 280, text: true, value: (row) => row.name, render: name },
    groups: [
      { key: "verdicts", title: "Tasks by verdict" },
      { key: "means", title: "Over all tasks" },
      { key: "rest", title: "Details" },
    ],
    columns: [...verdictColumns(), ...meanColumns(), ...restColumns()],
    rows: candidates,
    rowClass: (row) => (candidates.indexOf(row) === state.candidate ? "chosen" : ""),
    onPick: pick,
  });
}

/** @returns {TableColumn[]} */
function verdictColumns() {
  const verdict = {
    id: "verdict",
    group: "verdicts",
    label: "Verdict",
    width: 130,
    text: true,
    value: (/** @type {Candidate} */ row) => row.overall.verdict && VERDICTS.indexOf(row.overall.verdict),
    render: (/** @type {Candidate} */ row) => (row.overall.verdict ? badge(row.overall.verdict) : NONE),
  };
  const counts = VERDICTS.map((name) => ({
    id: name,
    group: "verdicts",
    label: name,
    width: 92,
    lower: name !== "retained" && name !== "improved",
    value: (/** @type {Candidate} */ row) => row.overall.verdicts[name],
    render: (/** @type {Candidate} */ row) => row.overall.verdicts[name],
  }));
  return [verdict, ...counts];
}

/** @returns {TableColumn[]} */
function meanColumns() {
  const estimate = (/** @type {"meanChange" | "plasticity"} */ key, /** @type {string} */ label, /** @type {string} */ sub) => {
    const range = rangeOf(data.candidates.map((row) => points(row.overall[key])));
    return {
      id: key,
      group: "means",
      label,
      sub,
      width: 140,
      value: (/** @type {Candidate} */ row) => row.overall[key]?.[0] ?? null,
      render: (/** @type {Candidate} */ row) => estimateWithBar(row.overall[key], range),
      tip: (/** @type {Candidate} */ row) => [
        h("strong", {}, row.name),
        `${label}: ${Object.values(pointsText(row.overall[key])).join(" ")} points`,
      ],
    };
  };
  const loss = (/** @type {Candidate} */ row) => (row.overall.meanLoss === null ? NONE : valueText(100 * row.overall.meanLoss, "points"));
  const retention = {
    value: (/** @type {Candidate} */ row) => row.overall.retention?.[0] ?? null,
    render: (/** @type {Candidate} */ row) => shareText(row.overall.retention).value,
    tip: (/** @type {Candidate} */ row) => [
      h("strong", {}, row.name),
      `Retention ${Object.values(shareText(row.overall.retention)).join(" ")}, ${retentionTasks(row.overall)}`,
    ],
  };
  return [
    estimate("meanChange", "Mean change", "points"),
    {
      id: "loss",
      group: "means",
      label: "Mean loss",
      sub: "points",
      width: 110,
      lower: true,
      value: (row) => row.overall.meanLoss,
      render: loss,
    },
    { id: "retention", group: "means", label: "Retention", width: 110, ...retention },
    estimate("plasticity", "Targets", "change, points"),
  ];
}

/** @returns {TableColumn[]} */
function restColumns() {
  const worst = (/** @type {Candidate} */ row) => h("span", { class: "clip", title: row.overall.worst }, row.overall.worst ?? NONE);
  const size = (/** @type {Candidate} */ row) => row.system.adapterParameters || null;
  return [
    { id: "worst", group: "rest", label: "Worst task", width: 160, text: true, value: (row) => row.overall.worst, render: worst },
    {
      id: "size",
      group: "rest",
      label: "Adapter",
      sub: "parameters",
      width: 110,
      lower: true,
      value: size,
      render: (row) => sizeText(size(row)),
    },
  ];
}

/** @param {Estimate | null} estimate @param {number[]} range */
function estimateWithBar(estimate, range) {
  if (!estimate) return h("span", { class: "none" }, NONE);
  const [value, low, high] = points(estimate);
  return valueWithBar(changeText(value, "points"), value, low, high, range);
}
