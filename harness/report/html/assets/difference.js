/* Where two texts differ, word by word, by the Diff library. */

const DIFFERENCE_TIME = 300;

/**
 * The second text as nodes, with the words that the first does not have as <ins>; or the first, with <del>.
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
  const mine = side === "first" ? "removed" : "added";
  return parts
    .filter((/** @type {any} */ part) => !part[other])
    .map((/** @type {any} */ part) => (part[mine] ? h(tag, {}, part.value) : part.value));
}
