/* Where two texts differ, word by word; the Diff library finds it. */

const DIFFERENCE_TIME = 300;

/**
 * The second text as nodes, its words that the first has not marked as <ins>; or the first, marked as <del>.
 * @param {string} first
 * @param {string} second
 * @param {"first" | "second"} side which of the two to show
 * @returns {Child[]}
 */
function marked(first, second, side) {
  const shown = side === "first" ? first : second;
  if (first === second) return [shown];
  const parts = Diff.diffWordsWithSpace(first, second, { timeout: DIFFERENCE_TIME });
  if (!parts) return [shown, h("div", { class: "warning" }, "Too long to mark the differences.")];
  const [tag, other] = side === "first" ? ["del", "added"] : ["ins", "removed"];
  const own = side === "first" ? "removed" : "added";
  return parts
    .filter((/** @type {any} */ part) => !part[other])
    .map((/** @type {any} */ part) => (part[own] ? h(tag, {}, part.value) : part.value));
}
