/* Numbers as people read them; values as the terminal's tables write them. */

const NONE = "—";
const MINUS = "−";

/**
 * A score at the precision of its unit.
 * @param {number | null} value
 * @param {string} unit
 */
function valueText(value, unit) {
  if (value === null) return NONE;
  const size = Math.abs(value);
  let text;
  if (unit === "share") text = value.toFixed(3);
  else if (unit === "points" || (size >= 10 && size < 1e5)) text = value.toFixed(2);
  else if ((size >= 1e-3 && size < 10) || value === 0) text = value.toFixed(3);
  else text = String(Number(value.toPrecision(3)));
  return text.replace("-", MINUS);
}

/**
 * A change with its sign.
 * @param {number | null} value
 * @param {string} unit
 */
function changeText(value, unit) {
  return value !== null && value > 0 ? `+${valueText(value, unit)}` : valueText(value, unit);
}

/**
 * An interval; empty where there is none.
 * @param {number | null} low
 * @param {number | null} high
 * @param {string} unit
 */
function intervalText(low, high, unit) {
  return low === null || high === null ? "" : `[${valueText(low, unit)}, ${valueText(high, unit)}]`;
}

/** @param {number | null} p */
function pText(p) {
  if (p === null) return NONE;
  if (p < 1e-4) return "< 0.0001";
  return p < 0.01 ? p.toFixed(4) : p.toFixed(3);
}

/** @param {number | null} share */
function percentText(share) {
  return share === null ? NONE : `${(100 * share).toFixed(1).replace("-", MINUS)} %`;
}

/** @param {number} count */
function countText(count) {
  return count.toLocaleString("en-US");
}

/**
 * A large number in short: 135M, 1.1B.
 * @param {number | null} count
 */
function sizeText(count) {
  if (count === null) return NONE;
  const step = [
    [1e12, "T"],
    [1e9, "B"],
    [1e6, "M"],
    [1e3, "k"],
  ].find(([size]) => count >= Number(size));
  if (!step) return String(Number(count.toPrecision(3)));
  return `${Number((count / Number(step[0])).toPrecision(3))}${step[1]}`;
}

/** @param {number | null} bytes */
function bytesText(bytes) {
  if (bytes === null) return NONE;
  const names = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes ? Math.min(Math.floor(Math.log2(bytes) / 10), 4) : 0;
  return `${(bytes / 1024 ** power).toFixed(power > 2 ? 1 : 0)} ${names[power]}`;
}
