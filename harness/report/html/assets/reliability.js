/* Reliability diagrams: accuracy against the model's confidence. Drawn by D3. */

/**
 * @typedef {[number, number, number, number, number]} Bin confidence, accuracy, its interval's ends, items
 * @typedef {{system: number, task: string, measure: string, metric: string, value: number | null, low: number | null, high: number | null, n: number,
 *   chance: number | null, reason: string | null, points: Bin[]}} Diagram
 * @typedef {{name: string, isBase: boolean, diagram: Diagram}} Series
 */

const RELIABILITY = { ends: [-0.03, 1.03], size: 340, top: 12, right: 14, bottom: 42, left: 46 };

/** The symbol of a system: that of the base is hollow, and of another shape. @param {boolean} isBase @param {number} size */
function binSymbol(isBase, size) {
  return d3.symbol(isBase ? d3.symbolSquare : d3.symbolCircle, size)(null);
}

/** A diagram's error in words. @param {Diagram} diagram */
function errorText(diagram) {
  if (diagram.value === null) return `${diagram.metric}: ${NONE}, ${diagram.reason}`;
  const chance = diagram.chance === null ? "" : `; by chance ${valueText(diagram.chance, "share")}`;
  const interval = intervalText(diagram.low, diagram.high, "share") || "no interval";
  return `${diagram.metric} ${valueText(diagram.value, "share")} ${interval}, n ${countText(diagram.n)}${chance}`;
}

/**
 * One diagram, of one system or of several over each other.
 * @param {string} title
 * @param {Series[]} series
 * @returns {HTMLElement}
 */
function reliabilityFigure(title, series) {
  const words = series.map(({ name, isBase, diagram }) =>
    h(
      "p",
      {},
      series.length > 1 && reliabilityLegend(isBase),
      series.length > 1 && `${name}: `,
      errorText(diagram),
      diagram.value !== null && diagram.reason && `. Not drawn: ${diagram.reason}`,
    ),
  );
  const drawn = series.filter(({ diagram }) => diagram.points.length);
  return h("figure", {}, h("figcaption", {}, title), drawn.length > 0 && reliabilityPlot(title, drawn), words);
}

/** @param {boolean} isBase */
function reliabilityLegend(isBase) {
  const svg = d3
    .create("svg")
    .attr("class", `legend${isBase ? " base" : ""}`)
    .attr("viewBox", "-6 -6 12 12")
    .attr("aria-hidden", "true");
  svg.attr("width", 12).attr("height", 12).append("path").attr("d", binSymbol(isBase, 50));
  const node = /** @type {SVGSVGElement} */ (svg.node());
  node.style.width = "12px";
  return node;
}

/**
 * @param {string} title
 * @param {Series[]} series
 */
function reliabilityPlot(title, series) {
  const { ends, size, top, right, bottom, left } = RELIABILITY;
  const x = d3.scaleLinear(ends, [left, size - right]);
  const y = d3.scaleLinear(ends, [size - bottom, top]);
  const svg = d3.create("svg").attr("viewBox", `0 0 ${size} ${size}`).attr("role", "img").attr("tabindex", 0);
  const bins = series.map(({ name, diagram }) => `${diagram.points.length} bins of ${name}`).join(", ");
  svg.attr("aria-label", `Reliability, ${title}: ${bins}. Arrow keys go from bin to bin.`);
  reliabilityAxes(svg, x, y);
  svg.append("line").attr("class", "diagonal").attr("x1", x(0)).attr("y1", y(0)).attr("x2", x(1)).attr("y2", y(1));
  for (const system of series) reliabilityBins(svg, system, x, y, series.length === 1);
  const points = series.flatMap(({ name, diagram }) =>
    diagram.points.map(([confidence, accuracy, low, high, items]) => ({
      label: `${name}: ${countText(items)} ${items === 1 ? "item" : "items"}`,
      x: confidence,
      y: accuracy,
      low,
      high,
      chosen: false,
      row: null,
    })),
  );
  const share = (/** @type {number} */ value) => valueText(value, "share");
  const words = { title, xLabel: "mean confidence", yLabel: "accuracy", xText: share, yText: share, empty: "" };
  listenToPoints(svg, { ...words, points, moreIsBetter: true, lowerIsBetter: false, onPick: () => {} }, /** @type {any} */ (x), y);
  return svg.node();
}

/**
 * @param {any} svg
 * @param {d3.ScaleLinear<number, number>} x
 * @param {d3.ScaleLinear<number, number>} y
 */
function reliabilityAxes(svg, x, y) {
  const { size, top, right, bottom, left } = RELIABILITY;
  const below = svg
    .append("g")
    .attr("class", "axis")
    .attr("transform", `translate(0,${size - bottom})`);
  below.call(d3.axisBottom(x).ticks(5).tickSizeOuter(0));
  const beside = svg.append("g").attr("class", "axis lines").attr("transform", `translate(${left},0)`);
  beside
    .call(
      d3
        .axisLeft(y)
        .ticks(5)
        .tickSize(left + right - size),
    )
    .select(".domain")
    .remove();
  const name = (/** @type {string} */ place, /** @type {string} */ text) =>
    svg.append("text").attr("class", "title").attr("transform", place).attr("text-anchor", "middle").text(text);
  name(`translate(${(left + size - right) / 2},${size - 8})`, "confidence");
  name(`translate(12,${(top + size - bottom) / 2}) rotate(-90)`, "accuracy");
}

/**
 * @param {any} svg
 * @param {Series} series
 * @param {d3.ScaleLinear<number, number>} x
 * @param {d3.ScaleLinear<number, number>} y
 * @param {boolean} counts whether to write how many items each bin has
 */
function reliabilityBins(svg, { isBase, diagram }, x, y, counts) {
  for (const [sure, right, low, high, items] of diagram.points) {
    const mark = svg.append("g").attr("class", `bin${isBase ? " base" : ""}`);
    mark.append("line").attr("x1", x(sure)).attr("x2", x(sure)).attr("y1", y(low)).attr("y2", y(high));
    mark
      .append("path")
      .attr("d", binSymbol(isBase, 60))
      .attr("transform", `translate(${x(sure)},${y(right)})`);
    if (!counts) continue;
    const [end, side] = low > 0.12 ? [low, "end"] : [high, "start"];
    mark
      .append("text")
      .attr("transform", `translate(${x(sure) + 3},${y(end) + (side === "end" ? 3 : -3)}) rotate(-90)`)
      .attr("text-anchor", side)
      .text(countText(items));
  }
}
