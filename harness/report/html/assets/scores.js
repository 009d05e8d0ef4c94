/* All scores of a candidate: changes, tests, flips and power. */

/**
 * @param {string} group
 * @param {string} id
 * @param {string} label
 * @param {Partial<TableColumn>} rest
 */
function scoreTableColumn(group, id, label, rest) {
  return /** @type {TableColumn} */ ({ id, group, label, width: 104, ...rest });
}

/**
 * Sorted by and showing one number of a score.
 * @param {keyof Score} key
 * @param {(score: any) => string} text
 * @returns {Pick<TableColumn, "value" | "render">}
 */
function numberOf(key, text) {
  return { value: (score) => score[key], render: (score) => (score[key] === null ? h("span", { class: "none" }, NONE) : text(score)) };
}

function valueColumns() {
  const metric = (/** @type {Score} */ score) => [
    h("span", { class: "clip", title: score.metric }, score.metric),
    h("span", { class: "sub" }, `${score.unit}, ${score.higher ? "more" : "less"} is better`),
  ];
  const rows = (/** @type {Score} */ score) => [`Resampled: ${countText(score.rows)} ${score.resampled}`];
  return [
    scoreTableColumn("score", "metric", "Metric", { width: 150, text: true, value: (score) => score.metric, render: metric }),
    scoreTableColumn("score", "items", "Items", { width: 84, ...numberOf("items", (score) => countText(score.items)), tip: rows }),
    scoreTableColumn(
      "score",
      "before",
      "Base",
      numberOf("before", (score) => valueText(score.before, score.unit)),
    ),
    scoreTableColumn(
      "score",
      "after",
      "Candidate",
      numberOf("after", (score) => valueText(score.after, score.unit)),
    ),
  ];
}

function changeColumns() {
  const about = () => ["A positive change is an improvement; with its 95 % interval. Bars have 0 in the middle and one scale for each unit."];
  const why = (/** @type {Score} */ score) => [lacking(score) ?? `Verdict: ${score.verdict}`, score.reason ? `No test: ${score.reason}` : `Margin ${valueText(score.margin, score.unit)}`];
  const verdict = (/** @type {Score} */ score) => badge(score.verdict);
  const order = (/** @type {Score} */ score) => VERDICTS.indexOf(score.verdict);
  return [
    scoreTableColumn("change", "change", "Change", {
      width: 130,
      value: (score) => score.change,
      render: changeCell,
      tip: changeTip,
      about,
    }),
    scoreTableColumn("change", "verdict", "Verdict", { width: 130, text: true, value: order, render: verdict, tip: why }),
    scoreTableColumn(
      "change",
      "margin",
      "Margin",
      numberOf("margin", (score) => valueText(score.margin, score.unit)),
    ),
    scoreTableColumn(
      "change",
      "retention",
      "Retention",
      numberOf("retention", (score) => percentText(score.retention)),
    ),
  ];
}

function testColumns() {
  const test = (/** @type {Score} */ score) => {
    const name = score.test === "mcnemar" ? "Exact McNemar test" : "Paired permutation test";
    return score.test ? [`${name}, p = ${pText(score.p)}; adjusted for all scores tested together`] : null;
  };
  const size = (/** @type {Score} */ score) =>
    score.effect === null ? null : [score.effect === "h" ? "Cohen's h" : "Cohen's d of the paired differences"];
  const least = () => ["The smallest true loss that would get the verdict forgot with 80 % power on these items, with all scores tested together."];
  const most = () => ["Items needed for the verdict retained with 80 % power, if nothing changed."];
  const twice = () => ["Items needed for the verdict forgot with 80 % power, if the true loss is twice the margin."];
  return [
    scoreTableColumn("test", "holm", "p (Holm)", { lower: true, ...numberOf("holm", (score) => pText(score.holm)), tip: test }),
    scoreTableColumn("test", "bh", "p (BH)", { lower: true, ...numberOf("bh", (score) => pText(score.bh)), tip: test }),
    scoreTableColumn("flips", "lost", "Lost", { width: 80, lower: true, ...numberOf("lost", (score) => countText(score.lost)) }),
    scoreTableColumn("flips", "gained", "Gained", { width: 80, ...numberOf("gained", (score) => countText(score.gained)) }),
    scoreTableColumn("flips", "odds", "Gained / lost", { width: 90, ...numberOf("odds", (score) => valueText(score.odds, "points")) }),
    scoreTableColumn("power", "effect", "Effect", {
      width: 90,
      ...numberOf("effectSize", (score) => changeText(score.effectSize, "points")),
      tip: size,
    }),
    scoreTableColumn("power", "detectable", "Detectable loss", {
      lower: true,
      ...numberOf("detectable", (score) => valueText(score.detectable, score.unit)),
      about: least,
    }),
    scoreTableColumn("power", "needed", "Items for retained", {
      lower: true,
      ...numberOf("needed", (score) => countText(score.needed)),
      about: most,
    }),
    scoreTableColumn("power", "neededForLoss", "Items for forgot", {
      lower: true,
      ...numberOf("neededForLoss", (score) => countText(score.neededForLoss)),
      about: twice,
    }),
  ];
}

/** What changed when the base was scored twice; no columns where it was not. */
function noiseColumns() {
  if (!Object.keys(data.noise).length) return [];
  const of = (/** @type {Score} */ score, /** @type {0 | 1} */ place) => data.noise[score.task]?.[place] ?? null;
  const text = (/** @type {number | null} */ value) =>
    value === null ? h("span", { class: "none" }, NONE) : String(Number(value.toPrecision(2)));
  const column = (/** @type {string} */ label, /** @type {0 | 1} */ place, /** @type {string} */ about) =>
    scoreTableColumn("noise", `noise ${place}`, label, {
      lower: true,
      value: (score) => of(score, place),
      render: (score) => text(of(score, place)),
      about: () => [about],
    });
  return [
    column("Flips", 0, "Items that flipped when the base was scored again in other batches."),
    column("Largest", 1, "Largest difference of a log-probability, or of the score of a generated text, when the base was scored again."),
  ];
}

/** Half width of the change bars by unit. @type {Map<string, number>} */
const reach = new Map();
function measureReach() {
  for (const { unit, change, low, high } of data.scores) {
    reach.set(unit, Math.max(reach.get(unit) ?? 0, ...[change, low, high].map((end) => Math.abs(end ?? 0))));
  }
}

/** @param {Score} score */
function changeCell(score) {
  if (score.change === null) return h("span", { class: "none" }, NONE);
  const wide = reach.get(score.unit) || 1;
  const style = score.change < 0 ? "lost" : score.change > 0 ? "gained" : "";
  return valueWithBar(changeText(score.change, score.unit), score.change, score.low, score.high, [-wide, wide], style, "change");
}

/** @param {Score} score */
function changeTip(score) {
  return [
    h("strong", {}, `${score.task} ${score.metric}`),
    score.reason
      ? `Not compared: ${score.reason}`
      : `${changeText(score.change, score.unit)} ${intervalText(score.low, score.high, score.unit)} (${score.method})`,
  ];
}

/** @param {Score} score */
function scoreHead(score) {
  const where = [score.parent, score.where, score.target && "target"].filter(Boolean).join(" · ");
  return h(
    "div",
    { title: `${score.task}: ${score.title}` },
    h("div", { class: "clip" }, score.task),
    where && h("span", { class: "sub" }, where),
  );
}

function filterScores() {
  const matches = matcher(state.query);
  scoresTable.filterRows(
    (score) =>
      score.candidate === state.candidate &&
      (!state.kind || score.kind === state.kind) &&
      matches(`${score.task} ${score.title} ${score.metric} ${score.where} ${score.verdict}`.toLowerCase()),
  );
}

function makeScores() {
  measureReach();
  scoresTable = new VirtualTable({
    host: byId("scores"),
    label: "Scores",
    noun: ["score", "scores"],
    head: { id: "task", group: "", label: "Task", width: 240, text: true, value: (score) => score.task, render: scoreHead },
    groups: [
      { key: "score", title: "Score" },
      { key: "change", title: "Change" },
      { key: "test", title: "Test" },
      { key: "flips", title: "Items" },
      { key: "power", title: "Effect and power" },
      { key: "noise", title: "Noise of the base", about: "The base scored again in other batches" },
    ],
    columns: [...valueColumns(), ...changeColumns(), ...testColumns(), ...noiseColumns()],
    rows: data.scores,
    onPick: showItemsOf,
  });
  const kinds = [...new Set(data.scores.map((score) => score.kind))];
  const options = [...kinds.map((kind) => [kind, KINDS[/** @type {keyof typeof KINDS} */ (kind)]]), ["", "all"]];
  byId("score-tools").append(
    searcher("Search", "task, metric, verdict…", (text) => {
      state.query = text;
      filterScores();
    }),
    chooser("Kind", /** @type {[string, string][]} */ (options), state.kind, (value) => {
      state.kind = value;
      filterScores();
    }),
  );
}
