/* The axis above the rows of a forest plot, in its table's head. */

/**
 * @param {d3.ScaleLinear<number, number>} x
 * @param {number} width
 */
function forestAxis(x, width) {
  const svg = d3.create("svg").attr("width", width).attr("height", 22).attr("aria-hidden", "true");
  svg
    .append("g")
    .attr("class", "axis")
    .attr("transform", "translate(0,21)")
    .call(
      d3
        .axisTop(x)
        .ticks(Math.max(3, width / 80))
        .tickSizeOuter(0),
    );
  return svg.node();
}
