/* The leaderboard's charts: scores against speed and size. */

const axes = { score: "win", speed: "1" };

/** @returns {{id: string, label: string, unit: string, higher: boolean, of: (row: Row) => (number | null)[] | null}[]} */
function chartScores() {
  const axesOfScores = scores.map((column, place) => ({
    id: `score ${place}`,
    label: `${column.name} ${column.metric}`,
    unit: column.unit,
    higher: column.higher,
    of: (/** @type {Row} */ row) => /** @type {(number | null)[] | null} */ (row.cells[place]?.slice(0, 3) ?? null),
  }));
  if (!isRanked) return axesOfScores;
  const win = {
    id: "win",
    label: "win rate",
    unit: "share",
    higher: true,
    of: (/** @type {Row} */ row) => row.standing && [row.standing.rate, row.standing.low, row.standing.high],
  };
  return [win, ...axesOfScores];
}

function drawCharts() {
  const list = chartScores();
  const score = list.find((one) => one.id === axes.score) ?? list[0];
  if (!score) return;
  const speed = Number(axes.speed);
  for (const [id, place, title] of /** @type {[string, number, string][]} */ ([
    ["speed", speed, `${score.label} against speed`],
    ["size", 3, `${score.label} against size`],
  ])) {
    const points = table.order.flatMap((row) => {
      const [y, low, high] = score.of(row) ?? [null];
      const x = row.costs[place];
      return x && y !== null && y !== undefined
        ? [{ label: row.label, x, y, low: low ?? null, high: high ?? null, chosen: row.chosen, row }]
        : [];
    });
    drawScatter(byId(id), {
      points,
      title,
      xLabel: data.costs[place].label,
      yLabel: score.label,
      moreIsBetter: data.costs[place].higher,
      lowerIsBetter: !score.higher,
      xText: COST_TEXTS[place],
      yText: (value) => valueText(value, score.unit),
      empty: `No run has both ${score.label} and ${data.costs[place].label}.`,
      onPick: openSystem,
    });
  }
}

function makeCharts() {
  if (!scores.length) return;
  if (!rows.some((row) => row.costs[1])) axes.speed = "0";
  byId("chart-tools").append(
    chooser(
      "Score",
      chartScores().map((one) => [one.id, one.label]),
      axes.score,
      (value) => {
        axes.score = value;
        drawCharts();
      },
    ),
    chooser(
      "Speed",
      [
        ["0", data.costs[0].label],
        ["1", data.costs[1].label],
      ],
      axes.speed,
      (value) => {
        axes.speed = value;
        drawCharts();
      },
    ),
  );
  new ResizeObserver(() => drawCharts()).observe(byId("charts"));
}
