/* Points with intervals over a cost: who is good for what is spent. Drawn by D3; colours come from the page's style. */

/**
 * @typedef {object} Point
 * @property {string} label
 * @property {number} x
 * @property {number} y
 * @property {number | null} low
 * @property {number | null} high
 * @property {boolean} chosen
 * @property {any} row
 */

/**
 * @typedef {object} ScatterOptions
 * @property {Point[]} points
 * @property {string} title
 * @property {string} xLabel
 * @property {string} yLabel
 * @property {boolean} moreIsBetter whether more of x is
 * @property {boolean} lowerIsBetter whether less of y is
 * @property {(value: number) => string} xText
 * @property {(value: number) => string} yText
 * @property {string} empty text shown where there is no point
 * @property {(row: any) => void} onPick
 */

const SCATTER = { height: 340, top: 16, right: 24, bottom: 44, left: 58 };

/**
 * Points that no other point beats on both axes, from left to right.
 * @param {ScatterOptions} options
 */
function frontier({ points, moreIsBetter, lowerIsBetter }) {
  const [across, up] = [moreIsBetter ? -1 : 1, lowerIsBetter ? 1 : -1];
  const ordered = [...points].sort((one, other) => across * (one.x - other.x) || up * (one.y - other.y));
  let best = Infinity;
  return ordered
    .filter((point) => {
      if (up * point.y >= best) return false;
      best = up * point.y;
      return true;
    })
    .sort((one, other) => one.x - other.x);
}

/**
 * Draw into a figure, replacing what it showed.
 * @param {HTMLElement} figure
 * @param {ScatterOptions} options
 */
function drawScatter(figure, options) {
  const { points } = options;
  if (!points.length) {
    figure.replaceChildren(h("figcaption", {}, options.title), h("p", { class: "empty" }, options.empty));
    return;
  }
  const width = Math.max(300, figure.clientWidth);
  const { x, y } = scatterScales(points, width);
  const svg = d3.create("svg").attr("viewBox", [0, 0, width, SCATTER.height].join(" ")).attr("role", "img").attr("tabindex", 0);
  svg.attr("aria-label", describeScatter(options));
  drawAxes(svg, x, y, width, options);
  const front = frontier(options);
  const steps = d3.line().curve(options.moreIsBetter ? d3.curveStepBefore : d3.curveStepAfter);
  svg
    .append("path")
    .attr("class", "frontier")
    .attr("d", steps(front.map((point) => [x(point.x), y(point.y)])));
  drawPoints(svg, points, new Set(front), x, y);
  labelPoints(svg, points.length <= 8 ? points : points.filter((point) => front.includes(point) || point.chosen), x, y, width);
  listenToPoints(svg, options, x, y);
  figure.replaceChildren(h("figcaption", {}, options.title), /** @type {Node} */ (svg.node()));
}

/**
 * @param {Point[]} points
 * @param {number} width
 */
function scatterScales(points, width) {
  const { height, top, right, bottom, left } = SCATTER;
  const xs = points.map((point) => point.x);
  const ys = points.flatMap((point) => [point.low ?? point.y, point.y, point.high ?? point.y]);
  const [least, most] = [Math.min(...ys), Math.max(...ys)];
  const air = (most - least) * 0.06 || Math.abs(least) * 0.1 || 0.1;
  return {
    x: d3.scaleLog([Math.min(...xs) / 1.25, Math.max(...xs) * 1.25], [left, width - right]),
    y: d3.scaleLinear([least - air, most + air], [height - bottom, top]),
  };
}

/**
 * @param {any} svg
 * @param {Point[]} points
 * @param {Set<Point>} leads
 * @param {d3.ScaleLogarithmic<number, number>} x
 * @param {d3.ScaleLinear<number, number>} y
 */
function drawPoints(svg, points, leads, x, y) {
  for (const point of points) {
    const mark = svg.append("g").attr("class", `point${leads.has(point) ? " lead" : ""}${point.chosen ? " chosen" : ""}`);
    const across = x(point.x);
    if (point.low !== null && point.high !== null) {
      mark
        .append("line")
        .attr("class", "interval")
        .attr("x1", across)
        .attr("x2", across)
        .attr("y1", y(point.low))
        .attr("y2", y(point.high));
    }
    mark.append("circle").attr("cx", across).attr("cy", y(point.y)).attr("r", 5);
  }
}

/** @param {ScatterOptions} options */
function describeScatter(options) {
  return `${options.title}: ${options.points.length} systems. Arrow keys go from point to point, Enter opens one.`;
}

/**
 * @param {any} svg
 * @param {d3.ScaleLogarithmic<number, number>} x
 * @param {d3.ScaleLinear<number, number>} y
 * @param {number} width
 * @param {ScatterOptions} options
 */
function drawAxes(svg, x, y, width, options) {
  const { height, top, right, bottom, left } = SCATTER;
  const [low, high] = x.domain();
  const wide = x.ticks(5).filter((tick) => /^[125]/.test(tick.toExponential()));
  const ticks = high / low > 8 ? wide : d3.ticks(low, high, 4).filter((tick) => tick > 0);
  const below = d3
    .axisBottom(x)
    .tickValues(ticks)
    .tickFormat((tick) => options.xText(Number(tick)))
    .tickSizeOuter(0);
  const beside = d3
    .axisLeft(y)
    .ticks(6)
    .tickFormat((tick) => options.yText(Number(tick)))
    .tickSize(left + right - width);
  svg
    .append("g")
    .attr("class", "axis")
    .attr("transform", `translate(0,${height - bottom})`)
    .call(below);
  svg.append("g").attr("class", "axis lines").attr("transform", `translate(${left},0)`).call(beside).select(".domain").remove();
  const title = (/** @type {string} */ place, /** @type {string} */ text) =>
    svg.append("text").attr("class", "title").attr("transform", place).attr("text-anchor", "middle").text(text);
  title(`translate(${(left + width - right) / 2},${height - 6})`, `${options.xLabel} ${options.moreIsBetter ? "→ better" : "← better"}`);
  title(`translate(14,${(top + height - bottom) / 2}) rotate(-90)`, options.yLabel);
}

/**
 * Name points where there is room: to the right, else to the left.
 * @param {any} svg
 * @param {Point[]} points
 * @param {d3.ScaleLogarithmic<number, number>} x
 * @param {d3.ScaleLinear<number, number>} y
 * @param {number} width
 */
function labelPoints(svg, points, x, y, width) {
  /** @type {{left: number, right: number, y: number}[]} */
  const taken = [];
  for (const point of points) {
    const text = point.label.length > 26 ? `${point.label.slice(0, 25)}…` : point.label;
    const long = text.length * 6.2;
    const places = [
      { left: x(point.x) + 9, anchor: "start" },
      { left: x(point.x) - 9 - long, anchor: "end" },
    ];
    const free = places.find(
      ({ left }) =>
        left > SCATTER.left &&
        left + long < width &&
        !taken.some((other) => Math.abs(other.y - y(point.y)) < 13 && left < other.right && left + long > other.left),
    );
    if (!free) continue;
    taken.push({ left: free.left, right: free.left + long, y: y(point.y) });
    svg
      .append("text")
      .attr("class", "name")
      .attr("x", free.anchor === "start" ? free.left : x(point.x) - 9)
      .attr("y", y(point.y) + 4)
      .attr("text-anchor", free.anchor)
      .text(text);
  }
}

/**
 * Tell about the nearest point, by pointer or arrow keys.
 * @param {any} svg
 * @param {ScatterOptions} options
 * @param {d3.ScaleLogarithmic<number, number>} x
 * @param {d3.ScaleLinear<number, number>} y
 */
function listenToPoints(svg, options, x, y) {
  const { points } = options;
  const ordered = d3.sort(points, (point) => point.x);
  const near = d3.Delaunay.from(
    points,
    (point) => x(point.x),
    (point) => y(point.y),
  );
  const ring = svg.append("circle").attr("class", "ring").attr("r", 9).attr("visibility", "hidden");
  /** @type {Point | null} */
  let current = null;
  const tell = (/** @type {Point | null} */ point) => {
    current = point;
    ring.attr("visibility", point ? "visible" : "hidden");
    if (!point) return tip.hide();
    ring.attr("cx", x(point.x)).attr("cy", y(point.y));
    const interval = point.low === null || point.high === null ? "" : ` [${options.yText(point.low)}, ${options.yText(point.high)}]`;
    return tip.show(ring.node().getBoundingClientRect(), [
      h("strong", {}, point.label),
      `${options.yLabel}: ${options.yText(point.y)}${interval}`,
      `${options.xLabel}: ${options.xText(point.x)}`,
    ]);
  };
  svg.on("pointermove", (/** @type {PointerEvent} */ event) => {
    const [across, down] = d3.pointer(event);
    const point = points[near.find(across, down)];
    tell(Math.hypot(x(point.x) - across, y(point.y) - down) < 40 ? point : null);
  });
  svg.on("pointerleave blur", () => tell(null));
  svg.on("click", () => current && options.onPick(current.row));
  svg.on("keydown", (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (event.key === "Enter" && current) options.onPick(current.row);
    if (!step) return;
    event.preventDefault();
    const place = current ? ordered.indexOf(current) + step : 0;
    tell(ordered[Math.max(0, Math.min(ordered.length - 1, place))]);
  });
}
