/* Values over little bars that draw their intervals. */

/**
 * A value over its interval, on a bar that spans a range.
 * @param {string} text
 * @param {number | null} value
 * @param {number | null} low
 * @param {number | null} high
 * @param {number[]} range
 * @param {string} [style] of the text
 * @param {string} [kind] of the bar
 */
function valueWithBar(text, value, low, high, range, style = "", kind = "") {
  const span = range[1] - range[0] || 1;
  const place = (/** @type {number} */ at) => `${(100 * Math.min(1, Math.max(0, (at - range[0]) / span))).toFixed(1)}%`;
  const bar =
    value !== null &&
    low !== null &&
    high !== null &&
    h("span", { class: `bar ${kind}`, "aria-hidden": "true", "--low": place(low), "--high": place(high), "--at": place(value) });
  return [h("span", { class: `value ${style}` }, text), bar];
}

/**
 * Ends of all intervals, and values without one.
 * @param {(number | null | undefined)[][]} triples value, low, high
 */
function rangeOf(triples) {
  const ends = triples.flat().filter((end) => typeof end === "number");
  return ends.length ? [Math.min(...ends), Math.max(...ends)] : [0, 1];
}
