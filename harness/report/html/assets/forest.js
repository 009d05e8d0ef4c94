/* A forest plot: changes with their intervals, one line each, on one axis per unit. D3 gives scales and axes. */

/**
 * @typedef {object} ForestLine
 * @property {Score} score
 * @property {string} label
 * @property {string} sub
 * @property {boolean} inner whether it belongs to the line above
 */

/** Shares, correlations and points are hundredths of their scale, on one axis; every other unit has its own. */
/** @type {Record<string, number>} */
const HUNDREDTHS = { share: 100, correlation: 100, bias: 100, points: 1 };
/** @typedef {"forgot" | "likely forgot" | "inconclusive" | "retained" | "improved"} Verdict */

/** @type {Record<Verdict, string>} */
const MARKS = { forgot: "▼", "likely forgot": "▽", inconclusive: "?", retained: "●", improved: "▲" };

/** @param {Score} score */
function axisOf(score) {
  const factor = HUNDREDTHS[score.unit];
  return factor ? { key: "points, hundredths of the scale", factor } : { key: score.unit, factor: 1 };
}

/** @type {Record<Verdict, d3.SymbolType>} */
const SHAPES = {
  forgot: d3.symbolTriangle,
  "likely forgot": d3.symbolTriangle,
  inconclusive: d3.symbolDiamond,
  retained: d3.symbolCircle,
  improved: d3.symbolTriangle,
};

/**
 * What keeps a loss beyond the margin from being called forgot; null for other verdicts.
 * @param {Score} score
 */
function lacking(score) {
  return score.verdict === "likely forgot" ? `adjusted p ${pText(score.holm)}, needs ${data.forgotAt}` : null;
}

/** @param {Verdict} verdict */
function badge(verdict) {
  const mark = h("span", { "aria-hidden": "true" }, MARKS[verdict]);
  return h("span", { class: `badge ${verdict.replace(" ", "-")}` }, mark, ` ${verdict}`);
}

/**
 * Items lost and gained.
 * @param {number} lost
 * @param {number} gained
 * @param {string} between
 */
function flipsText(lost, gained, between) {
  const text = (/** @type {string} */ sign, /** @type {number} */ count) => (count ? `${sign}${countText(count)}` : "0");
  return [h("span", { class: "lost" }, text(MINUS, lost)), between, h("span", { class: "gained" }, text("+", gained))];
}

/**
 * @param {HTMLElement} host
 * @param {ForestLine[]} lines
 * @param {(score: Score) => void} onPick
 * @param {number} [room] pixels; by default the host's
 */
function drawForest(host, lines, onPick, room = host.clientWidth) {
  const panels = d3.groups(
    lines.filter(({ score }) => score.change !== null),
    ({ score }) => axisOf(score).key,
  );
  const missing = lines.filter(({ score }) => score.change === null);
  const why = (/** @type {ForestLine} */ { label, sub, score }) =>
    h("li", {}, `${label} ${sub}: no change, because ${score.reason ?? "a score is missing"}`);
  host.replaceChildren();
  fill(host, [
    panels.map(([key, rows]) => forestPanel(key, rows, room, onPick)),
    missing.length > 0 && h("ul", { class: "notes" }, missing.map(why)),
    !lines.length && h("p", { class: "empty" }, "No scores to show."),
  ]);
}

/**
 * @param {string} key
 * @param {ForestLine[]} lines
 * @param {number} room pixels
 * @param {(score: Score) => void} onPick
 */
function forestPanel(key, lines, room, onPick) {
  const width = Math.max(160, Math.min(760, room - (room > 900 ? 710 : 440)));
  const ends = lines.flatMap(({ score }) =>
    [score.low, score.high, score.change, -score.margin].map((end) => axisOf(score).factor * (end ?? 0)),
  );
  const [least, most] = [Math.min(0, ...ends), Math.max(0, ...ends)];
  const air = (most - least) * 0.05 || 1;
  const x = d3.scaleLinear([least - air, most + air], [6, width - 6]).nice();
  const axis = forestAxis(x, width);
  const rows = lines.map((line) => forestRow(line, x, width, onPick));
  const heads = [
    h("th", { scope: "col" }, "Score"),
    h("th", { scope: "col", class: "wide number" }, "Base → candidate"),
    h("th", { scope: "col", class: "plot" }, axis),
    h("th", { scope: "col", class: "number" }, "Change"),
    h("th", { scope: "col" }, "Verdict"),
    h("th", { scope: "col", class: "wide number" }, "Lost / gained"),
  ];
  const caption = h(
    "caption",
    {},
    `Change in ${key}; better to the right. The shaded band is the margin: a loss within it does not matter.`,
  );
  return h("div", { class: "panel" }, h("table", { class: "forest" }, caption, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, rows)));
}

/**
 * @param {ForestLine} line
 * @param {d3.ScaleLinear<number, number>} x
 * @param {number} width
 * @param {(score: Score) => void} onPick
 */
function forestRow(line, x, width, onPick) {
  const { score } = line;
  const { factor } = axisOf(score);
  const unit = factor === 1 ? score.unit : "points";
  const [change, low, high] = [score.change, score.low, score.high].map((end) => (end === null ? null : end * factor));
  const interval = intervalText(low, high, unit);
  const text = changeText(change, unit);
  const button = h(
    "button",
    { type: "button", class: "link", title: "Show its changed items", click: () => onPick(score) },
    breakable(line.label),
  );
  const flipped = score.lost === null || score.gained === null ? "" : flipsText(score.lost, score.gained, " / ");
  return h(
    "tr",
    { class: [line.inner ? "inner" : "", score.target ? "target" : ""].join(" ") },
    h("th", { scope: "row" }, button, h("span", { class: "sub" }, line.sub)),
    h("td", { class: "wide number" }, `${valueText(score.before, score.unit)} → ${valueText(score.after, score.unit)}`),
    h("td", { class: "plot" }, forestMark(score, x, width, `${line.label}: ${text} ${interval}, ${score.verdict}`)),
    h("td", { class: "number" }, h("span", { class: "value" }, text), h("span", { class: "sub" }, interval || "no interval")),
    h("td", {}, badge(score.verdict), lacking(score) && h("span", { class: "sub" }, lacking(score)), score.target && h("span", { class: "sub" }, "target")),
    h("td", { class: "wide number" }, flipped),
  );
}

/**
 * Interval, value, margin and the line of no change.
 * @param {Score} score
 * @param {d3.ScaleLinear<number, number>} x
 * @param {number} width
 * @param {string} words
 */
function forestMark(score, x, width, words) {
  const height = 34;
  const middle = height / 2;
  const at = (/** @type {number} */ value) => x(value * axisOf(score).factor);
  const svg = d3.create("svg").attr("width", width).attr("height", height).attr("role", "img").attr("aria-label", words);
  svg
    .append("rect")
    .attr("class", "margin")
    .attr("x", at(-score.margin))
    .attr("width", Math.max(0, at(0) - at(-score.margin)))
    .attr("height", height);
  svg.append("line").attr("class", "zero").attr("x1", at(0)).attr("x2", at(0)).attr("y2", height);
  const mark = svg.append("g").attr("class", `mark ${score.verdict.replace(" ", "-")}`);
  if (score.low !== null && score.high !== null) {
    mark.append("line").attr("x1", at(score.low)).attr("x2", at(score.high)).attr("y1", middle).attr("y2", middle);
    for (const end of [score.low, score.high])
      mark
        .append("line")
        .attr("x1", at(end))
        .attr("x2", at(end))
        .attr("y1", middle - 4)
        .attr("y2", middle + 4);
  }
  const turn = score.verdict.endsWith("forgot") ? " rotate(180)" : "";
  mark
    .append("path")
    .attr("d", d3.symbol(SHAPES[score.verdict], 70)(null))
    .attr("transform", `translate(${at(score.change ?? 0)},${middle})${turn}`);
  return svg.node();
}
