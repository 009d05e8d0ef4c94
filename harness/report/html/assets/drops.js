/* Scores lost on perturbed items: a line for each task, metric and perturbation, on one axis per unit. */

/**
 * @typedef {{system: number, task: string, metric: string, perturbation: string, signature: string, family: string, items: number,
 *   changed: number, unit: string, before: number | null, after: number | null, lost: number | null, low: number | null,
 *   high: number | null, reason: string | null}} Drop
 * @typedef {{drop: Drop, label: string, sub: string, isBase: boolean}} DropLine
 */

/**
 * @param {HTMLElement} host
 * @param {DropLine[]} lines
 * @param {number} [room] pixels; by default the host's
 */
function drawDrops(host, lines, room = host.clientWidth) {
  host.replaceChildren();
  fill(host, [
    d3.groups(lines, ({ drop }) => drop.unit).map(([unit, lines]) => dropPanel(unit, lines, room)),
    !lines.length && h("p", { class: "empty" }, "Nothing was perturbed here."),
  ]);
}

/**
 * @param {string} unit
 * @param {DropLine[]} lines
 * @param {number} room pixels
 */
function dropPanel(unit, lines, room) {
  const width = Math.max(140, Math.min(760, room - (room > 900 ? 620 : 400)));
  const ends = lines.flatMap(({ drop }) => [drop.lost, drop.low, drop.high]).map((end) => end ?? 0);
  const [least, most] = [Math.min(0, ...ends), Math.max(0, ...ends)];
  const air = (most - least) * 0.05 || 0.01;
  const x = d3.scaleLinear([least - air, most + air], [8, width - 8]).nice();
  const heads = [
    h("th", { scope: "col" }, "Task and perturbation"),
    h("th", { scope: "col", class: "wide number" }, "Before → after"),
    h("th", { scope: "col", class: "plot" }, forestAxis(x, width)),
    h("th", { scope: "col", class: "number" }, "Lost"),
    h("th", { scope: "col", class: "wide number" }, "Items changed"),
  ];
  const caption = h("caption", {}, `Lost on perturbed items, in ${unit}; worse to the right.`);
  const rows = lines.map((line) => dropRow(line, x, width));
  return h("div", { class: "panel" }, h("table", { class: "forest" }, caption, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, rows)));
}

/**
 * @param {DropLine} line
 * @param {d3.ScaleLinear<number, number>} x
 * @param {number} width
 */
function dropRow(line, x, width) {
  const { drop } = line;
  const text = changeText(drop.lost, drop.unit);
  const interval = intervalText(drop.low, drop.high, drop.unit) || drop.reason || "no interval";
  const words = `${line.label}, ${line.sub}: ${text} ${interval}`;
  return h(
    "tr",
    { class: "drop", title: drop.signature },
    h("th", { scope: "row" }, breakable(line.label), h("span", { class: "sub" }, line.sub)),
    h("td", { class: "wide number" }, `${valueText(drop.before, drop.unit)} → ${valueText(drop.after, drop.unit)}`),
    h("td", { class: "plot" }, dropMark(line, x, width, words)),
    h("td", { class: "number" }, h("span", { class: "value" }, text), h("span", { class: "sub" }, interval)),
    h("td", { class: "wide number" }, `${countText(drop.changed)} of ${countText(drop.items)}`),
  );
}

/** Whether the whole interval lies on one side of nothing lost; a worst case always does. @param {Drop} drop */
function dropSide(drop) {
  if (drop.signature === "worst") return "";
  if (drop.low !== null && drop.low > 0) return "forgot";
  return drop.high !== null && drop.high < 0 ? "improved" : "";
}

/**
 * @param {DropLine} line
 * @param {d3.ScaleLinear<number, number>} x
 * @param {number} width
 * @param {string} words
 */
function dropMark({ drop, isBase }, x, width, words) {
  const height = 34;
  const middle = height / 2;
  const svg = d3.create("svg").attr("width", width).attr("height", height).attr("role", "img").attr("aria-label", words);
  svg.append("line").attr("class", "zero").attr("x1", x(0)).attr("x2", x(0)).attr("y2", height);
  if (drop.lost === null) return svg.node();
  const mark = svg.append("g").attr("class", `mark ${isBase ? "base" : dropSide(drop)}`);
  const line = (/** @type {number} */ from, /** @type {number} */ to, /** @type {number} */ half) =>
    mark
      .append("line")
      .attr("x1", x(from))
      .attr("x2", x(to))
      .attr("y1", middle - half)
      .attr("y2", middle + half);
  if (drop.low !== null && drop.high !== null) {
    line(drop.low, drop.high, 0);
    line(drop.low, drop.low, 4);
    line(drop.high, drop.high, 4);
  }
  mark
    .append("path")
    .attr("d", binSymbol(isBase, 70))
    .attr("transform", `translate(${x(drop.lost)},${middle})`);
  return svg.node();
}
