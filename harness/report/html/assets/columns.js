/* The leaderboard's columns: standing, scores by family, costs. */

/** @param {Standing} standing */
function rankText(standing) {
  return standing.best === standing.worst ? String(standing.best) : `${standing.best}–${standing.worst}`;
}

/**
 * @param {string} id
 * @param {string} group
 * @param {string} label
 * @param {(row: Row) => Standing | null | undefined} of
 * @param {string} over what it is the mean over
 * @returns {TableColumn}
 */
function winRateColumn(id, group, label, of, over) {
  const range = [0, 1];
  return {
    id,
    group,
    label,
    width: 118,
    value: (row) => of(row)?.rate ?? null,
    render: (row) => {
      const standing = of(row);
      return standing ? valueWithBar(valueText(standing.rate, "share"), standing.rate, standing.low, standing.high, range) : h("span", { class: "none" }, NONE);
    },
    tip: (row) => {
      const standing = of(row);
      return standing
        ? [
            h("strong", {}, row.label),
            `Win rate ${valueText(standing.rate, "share")} ${intervalText(standing.low, standing.high, "share")}`,
            rankSentence(standing),
          ]
        : null;
    },
    about: () => [
      h("strong", {}, label),
      `Share of the other systems beaten, ties counting half, averaged over ${over}.`,
      "The interval resamples items and columns.",
    ],
  };
}

/** @param {Standing} standing */
function rankSentence(standing) {
  const sure =
    standing.rank === 1 ? "No system is significantly better." : `Significantly worse than ${standing.rank - 1} ${standing.rank === 2 ? "system" : "systems"}.`;
  return `Rank ${rankText(standing)} when items are resampled. ${sure}`;
}

/** @returns {TableColumn[]} */
function standingColumns() {
  if (!isRanked) return [];
  /** @type {TableColumn} */
  const rank = {
    id: "rank",
    group: "standing",
    label: "Rank",
    width: 84,
    lower: true,
    value: (row) => (row.standing ? row.standing.best + row.standing.worst / 1e4 : null),
    render: (row) => (row.standing ? h("span", { class: "rank" }, rankText(row.standing)) : h("span", { class: "none" }, NONE)),
    tip: (row) => row.standing && [h("strong", {}, row.label), rankSentence(row.standing)],
    about: () => [
      h("strong", {}, "Rank"),
      "95 % interval of the rank by win rate. Ranges that overlap are ties: these items cannot separate the systems.",
    ],
  };
  return [rank, winRateColumn("win", "standing", "Win rate", (row) => row.standing, "the headline metrics of tasks and groups")];
}

/**
 * @param {ScoreColumn} column
 * @param {number} place
 * @returns {TableColumn}
 */
function scoreColumn(column, place) {
  const range = rangeOf(rows.map((row) => row.cells[place]?.slice(0, 3) ?? []));
  const label = `${column.name} ${column.metric}`;
  return {
    id: `score ${place}`,
    group: column.family,
    label: column.name,
    sub: `${column.higher ? "↑" : "↓"} ${column.metric}`,
    width: 118,
    lower: !column.higher,
    value: (row) => row.cells[place]?.[0] ?? null,
    render: (row) => {
      const cell = row.cells[place];
      if (!cell || cell[0] === null) return h("span", { class: "none" }, NONE);
      const [value, low, high, , best, note] = cell;
      return valueWithBar(valueText(value, column.unit) + (note === null ? "" : "†"), value, low, high, range, best ? "best" : "");
    },
    tip: (row) => {
      const cell = row.cells[place];
      if (!cell) return [h("strong", {}, row.label), `${label}: not measured`];
      const [value, low, high, items, best, note] = cell;
      const text = note === null ? null : data.texts[note];
      return [
        h("strong", {}, row.label),
        value === null
          ? `${label}: no value, because: ${text}`
          : `${label}: ${valueText(value, column.unit)} ${intervalText(low, high, column.unit)}`,
        `${countText(items)} items${best ? " · best" : ""}`,
        value !== null && text && h("div", { class: "warning" }, `† Not ranked: ${text}`),
      ];
    },
    about: () => [
      h("strong", {}, label),
      `${column.unit}; ${column.higher ? "more" : "less"} is better${column.isGroup ? "; a group of tasks" : ""}`,
      `Bars span ${valueText(range[0], column.unit)} to ${valueText(range[1], column.unit)}.`,
    ],
  };
}

/**
 * @param {{key: string, label: string, higher: boolean}} cost
 * @param {number} place
 * @returns {TableColumn}
 */
function costColumn(cost, place) {
  return {
    id: `cost ${cost.key}`,
    group: "efficiency",
    label: cost.label,
    sub: cost.higher ? "↑" : "↓",
    width: 104,
    lower: !cost.higher,
    value: (row) => row.costs[place],
    render: (row) => h("span", { class: row.costs[place] === null ? "none" : "value" }, COST_TEXTS[place](row.costs[place])),
    tip: (row) => [
      h("strong", {}, row.label),
      row.costs[place] === null ? `${cost.label}: not measured` : `${cost.label}: ${countText(Math.round(Number(row.costs[place])))}`,
    ],
    about: () => [h("strong", {}, cost.label), "As this run measured it; machines and batch sizes may differ between runs."],
  };
}

/** @returns {TableGroup[]} */
function groupsOfColumns() {
  const families = data.families.map((/** @type {any} */ family) => {
    const known = rows.some((row) => row.families[family.key]);
    const summary = known
      ? winRateColumn(`family ${family.key}`, family.key, "win rate", (row) => row.families[family.key], "the family's columns")
      : undefined;
    return { key: family.key, title: family.title, about: family.about, summary };
  });
  return [{ key: "standing", title: "Standing", about: "Over the headline metrics of tasks and groups" }, ...families];
}
