/* The leaderboard: a table of systems and scores, and what the scores cost. */

/**
 * @typedef {{rate: number, low: number | null, high: number | null, rank: number, best: number, worst: number}} Standing
 * @typedef {[number | null, number | null, number | null, number, 0 | 1, number | null]} Cell value, low, high, items, whether best, note
 * @typedef {{name: string, metric: string, isGroup: boolean, family: string, higher: boolean, unit: string}} ScoreColumn
 * @typedef {{name: string, model: string, adapter: string | null, architecture: string, dtype: string, quantization: string | null,
 *   parameters: number, adapterParameters: number, digest: string, revision: string | null, chat: boolean, notes: string[]}} System
 * @typedef {{label: string, folder: string, system: System, standing: Standing | null, families: Record<string, Standing | null>,
 *   cells: (Cell | null)[], costs: (number | null)[], created: string, command: string[], chosen: boolean}} Row
 */

const data = embedded();
/** @type {Row[]} */
const rows = data.rows;
/** @type {ScoreColumn[]} */
const scores = data.columns;
const isRanked = rows.some((row) => row.standing);
const COST_TEXTS = [sizeText, sizeText, bytesText, sizeText];

/** @param {Row} row */
function rowHead(row) {
  const box = h("input", {
    type: "checkbox",
    checked: row.chosen,
    title: "Choose for the charts and “only chosen”",
    "aria-label": `Choose ${row.label}`,
    "data-focus": `choose ${row.label}`,
    change: () => choose(row, box.checked),
  });
  const name = h(
    "button",
    { type: "button", class: "link", title: row.label, "data-focus": `open ${row.label}`, click: () => openSystem(row) },
    breakable(row.label),
  );
  return h("div", { class: "rowhead" }, h("span", { class: "pick" }, box), name);
}

/** @type {VirtualTable} */
let table;
const filters = { query: "", columns: "", onlyChosen: false, facets: /** @type {Record<string, string>} */ ({}) };

/** @type {Record<string, [string, (row: Row) => string]>} */
const FACETS = {
  tuning: ["Tuning", (row) => (row.system.adapter ? "adapter" : "base")],
  architecture: ["Architecture", (row) => row.system.architecture],
  dtype: ["Precision", (row) => row.system.quantization ?? row.system.dtype],
};

/** @param {Row} row @param {boolean} chosen */
function choose(row, chosen) {
  row.chosen = chosen;
  if (filters.onlyChosen) applyFilters();
  else {
    table.draw(true);
    drawCharts();
  }
}

const texts = new Map(
  rows.map((row) => [
    row,
    [row.label, row.system.model, row.system.adapter, row.system.dtype, row.system.quantization, row.system.architecture, row.folder]
      .join(" ")
      .toLowerCase(),
  ]),
);

function applyFilters() {
  const matches = matcher(filters.query);
  const facets = Object.entries(filters.facets).filter(([, value]) => value);
  table.filterRows(
    (row) =>
      matches(texts.get(row) ?? "") && (!filters.onlyChosen || row.chosen) && facets.every(([key, value]) => FACETS[key][1](row) === value),
  );
}

function applyColumns() {
  const matches = matcher(filters.columns);
  table.filterColumns((column) => column.group === "standing" || matches(`${column.label} ${column.sub ?? ""}`.toLowerCase()));
}

function makeTools() {
  const tools = byId("tools");
  tools.append(
    searcher("Systems", "name, model, adapter…", (text) => {
      filters.query = text;
      applyFilters();
    }),
    searcher("Columns", "task or metric…", (text) => {
      filters.columns = text;
      applyColumns();
    }),
  );
  for (const [key, [label, of]] of Object.entries(FACETS)) {
    const values = [...new Set(rows.map(of))].sort();
    if (values.length < 2) continue;
    const options = [["", "all"], ...values.map((value) => [value, value])];
    tools.append(
      chooser(label, /** @type {[string, string][]} */ (options), "", (value) => {
        filters.facets[key] = value;
        applyFilters();
      }),
    );
  }
  tools.append(
    ticker("Only chosen", false, (checked) => {
      filters.onlyChosen = checked;
      applyFilters();
    }),
  );
}

/** @param {Row} row */
function openSystem(row) {
  const { system } = row;
  const dialog = byId("system");
  byId("system-name").textContent = row.label;
  byId("system-facts").replaceChildren(
    facts([
      ["Model", system.model],
      ["Adapter", system.adapter],
      ["Architecture", system.architecture],
      ["Weights", system.quantization ? `${system.quantization}, computed in ${system.dtype}` : system.dtype],
      [
        "Parameters",
        `${countText(system.parameters)}${system.adapterParameters ? `, of which ${countText(system.adapterParameters)} in the adapter` : ""}`,
      ],
      ["Prompts", system.chat ? "chat template" : "plain text"],
      ["Revision", system.revision],
      ["Digest", h("code", {}, system.digest)],
      [
        "Standing",
        row.standing &&
          `win rate ${valueText(row.standing.rate, "share")} ${intervalText(row.standing.low, row.standing.high, "share")}. ${rankSentence(row.standing)}`,
      ],
      [
        "Cost",
        data.costs
          .map(
            (/** @type {any} */ cost, /** @type {number} */ place) =>
              row.costs[place] !== null && `${cost.label} ${COST_TEXTS[place](row.costs[place])}`,
          )
          .filter(Boolean)
          .join(" · "),
      ],
      ["Notes", system.notes.map((note) => h("div", {}, note))],
      ["Run", `${row.created}, in ${row.folder}`],
      ["Command", row.command.length > 0 && h("code", {}, row.command.join(" "))],
    ]),
  );
  tip.hide();
  dialog.showModal();
}

function start() {
  startTheme();
  for (const row of rows) row.chosen = false;
  table = new VirtualTable({
    host: byId("table"),
    label: "Leaderboard",
    noun: ["system", "systems"],
    head: { id: "system", group: "", label: "System", width: 280, text: true, value: (row) => row.label, render: rowHead },
    groups: groupsOfColumns(),
    columns: [...standingColumns(), ...scores.map(scoreColumn), ...data.costs.map(costColumn)],
    rows,
    rowClass: (row) => (row.chosen ? "chosen" : ""),
    onPick: openSystem,
    onFilter: drawCharts,
  });
  if (isRanked) table.sortBy("win");
  makeTools();
  makeCharts();
  const measures = makeMeasures(data.measures);
  printWhole(measures ? [table, measures.table] : [table], (room) => measures?.draw(room));
  byId("system-close").addEventListener("click", () => byId("system").close());
  document.documentElement.dataset.ready = "true";
}

start();
