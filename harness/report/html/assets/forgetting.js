/* Forgetting: the candidates, the changes as a forest, all scores, and the items that changed. */

/**
 * @typedef {"headline" | "other" | "part" | "template" | "slice"} Kind
 * @typedef {{candidate: number, task: string, title: string, parent: string | null, kind: Kind, where: string, target: boolean,
 *   metric: string, unit: string, higher: boolean, items: number, rows: number, resampled: string,
 *   before: number | null, after: number | null, change: number | null, low: number | null, high: number | null, method: string | null,
 *   margin: number, verdict: Verdict, test: string | null, p: number | null, holm: number | null, bh: number | null,
 *   effect: string | null, effectSize: number | null, lost: number | null, gained: number | null,
 *   odds: number | null, detectable: number | null, needed: number | null, neededForLoss: number | null,
 *   retention: number | null, reason: string | null}} Score
 * @typedef {[number, number | null, number | null]} Estimate value, low, high
 * @typedef {{verdict: Verdict | null, verdicts: Record<string, number>, meanChange: Estimate | null,
 *   meanLoss: number | null, worst: string | null, retention: Estimate | null, retentionTasks: number,
 *   plasticity: Estimate | null}} Overall
 * @typedef {{name: string, system: {adapterParameters: number}, overall: Overall, changed: number, targets: string[]}} Candidate
 * @typedef {{base: {name: string}, forgotAt: number, candidates: Candidate[], scores: Score[], noise: Record<string, [number, number | null]>,
 *   samples: Sample[], changes: Change[], measures: MeasureData | null}} ForgettingData
 */

/** @type {ForgettingData} */
const data = embedded();
/** @type {Verdict[]} */
const VERDICTS = ["forgot", "likely forgot", "inconclusive", "retained", "improved"];
/** @type {Record<Kind, string>} */
const KINDS = {
  headline: "headline",
  other: "other metric",
  part: "task of a group",
  template: "template",
  slice: "kind of items",
};
const state = { candidate: 0, task: "", parts: false, order: "tasks", kind: "headline", query: "" };

/** @type {ItemBrowser} */
let browser;
/** @type {VirtualTable} */
let scoresTable;

/** @type {VirtualTable | null} */
let candidatesTable = null;
/** @type {Measures | null} */
let measures = null;

/** @param {number} place */
function chooseCandidate(place) {
  state.candidate = place;
  const select = byId("candidate-tools").querySelector("select");
  if (select) select.value = String(place);
  for (const name of document.querySelectorAll(".candidate-name")) name.textContent = data.candidates[place].name;
  candidatesTable?.draw(true);
  drawCards();
  drawChanges();
  filterScores();
  measures?.choose(place + 1);
  browser.choose(place);
}

/** @returns {ForestLine[]} */
function forestLines() {
  const kinds = state.parts && !state.task ? ["headline", "part"] : ["headline"];
  const isChosen = (/** @type {Score} */ score) => (state.task ? score.task === state.task : score.candidate === state.candidate);
  const chosen = data.scores.filter((score) => kinds.includes(score.kind) && isChosen(score));
  const lines = chosen.map((score) => ({
    score,
    label: state.task ? data.candidates[score.candidate].name : score.task,
    sub: `${score.metric} ${score.higher ? "↑" : "↓"} · ${countText(score.items)} items`,
    inner: score.kind === "part",
  }));
  if (state.order === "tasks") return lines;
  return d3.sort(lines, (line) => (line.score.change === null ? Infinity : line.score.change * axisOf(line.score).factor));
}

/** @param {number} [room] pixels */
function drawChanges(room) {
  const pick = (/** @type {Score} */ score) => {
    if (score.candidate !== state.candidate) chooseCandidate(score.candidate);
    showItemsOf(score);
  };
  drawForest(byId("forest"), forestLines(), pick, room);
}

/** Show a task's items in the browser; of a group, all. @param {Score} score */
function showItemsOf(score) {
  const isGroup = data.scores.some((other) => other.parent === score.task);
  browser.chooseTask(isGroup ? "" : score.task);
  byId("items").scrollIntoView({ block: "start" });
}

function makeForestTools() {
  const tools = byId("forest-tools");
  const tasks = [...new Set(data.scores.filter((score) => score.kind === "headline").map((score) => score.task))];
  if (data.candidates.length > 1) {
    const options = [["", "all tasks of the candidate"], ...tasks.map((task) => [task, `${task}, all candidates`])];
    tools.append(
      chooser("Show", /** @type {[string, string][]} */ (options), "", (value) => {
        state.task = value;
        drawChanges();
      }),
    );
  }
  tools.append(
    chooser(
      "Order",
      [
        ["tasks", "as run"],
        ["change", "worst first"],
      ],
      state.order,
      (value) => {
        state.order = value;
        drawChanges();
      },
    ),
  );
  if (data.scores.some((score) => score.kind === "part")) {
    tools.append(
      ticker("Tasks of groups", false, (checked) => {
        state.parts = checked;
        drawChanges();
      }),
    );
  }
  new ResizeObserver(() => drawChanges()).observe(byId("forest"));
}

function start() {
  startTheme();
  browser = new ItemBrowser(data);
  makeScores();
  makeForestTools();
  candidatesTable = makeCandidates();
  measures = makeMeasures(data.measures);
  chooseCandidate(0);
  browser.follow(chooseCandidate);
  addEventListener("hashchange", () => browser.follow(chooseCandidate));
  const tables = [candidatesTable, scoresTable, measures?.table].filter((table) => table instanceof VirtualTable);
  printWhole(tables, (room) => {
    drawChanges(room);
    measures?.draw(room);
  });
  document.documentElement.dataset.ready = "true";
}

start();
