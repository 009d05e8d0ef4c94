/* Pointer and keyboard in a table: cells explain themselves, arrow keys go from cell to cell, Enter or a click picks a row. */

/** @type {Record<string, [number, number]>} */
const CURSOR_STEPS = {
  ArrowDown: [1, 0],
  ArrowUp: [-1, 0],
  ArrowRight: [0, 1],
  ArrowLeft: [0, -1],
  PageDown: [10, 0],
  PageUp: [-10, 0],
  Home: [-1e9, 0],
  End: [1e9, 0],
};

class TableCursor {
  /** @param {VirtualTable} grid */
  constructor(grid) {
    this.grid = grid;
    this.id = `cursor ${grid.options.label}`.replaceAll(" ", "-");
    this.row = -1;
    this.column = -1;
    const { table } = grid;
    table.addEventListener("mouseover", (/** @type {any} */ event) => this.explain(event.target));
    table.addEventListener("focusin", (/** @type {any} */ event) => this.explain(event.target));
    table.addEventListener("mouseleave", () => tip.hide());
    table.addEventListener("blur", () => tip.hide());
    table.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => event.target === table && this.steer(event));
    table.addEventListener("click", (/** @type {any} */ event) => this.click(event.target));
  }

  reset() {
    this.row = -1;
    this.column = -1;
    this.grid.table.removeAttribute("aria-activedescendant");
  }

  /** @param {Element} target */
  click(target) {
    const line = /** @type {HTMLElement | null} */ (target.closest("tr[data-place]"));
    if (line && !target.closest("button, input, label, a")) this.grid.options.onPick?.(this.grid.order[Number(line.dataset.place)]);
  }

  /** Tell more about a cell or a head. @param {Element} target */
  explain(target) {
    const cell = /** @type {HTMLElement | null} */ (target.closest("td[data-column], th[data-head]"));
    const line = /** @type {HTMLElement | null} */ (target.closest("tr[data-place]"));
    const content = cell && this.explanation(cell, line);
    if (cell && content) tip.show(cell.getBoundingClientRect(), content);
    else tip.hide();
  }

  /**
   * @param {HTMLElement} cell
   * @param {HTMLElement | null} line
   */
  explanation(cell, line) {
    if (cell.dataset.head !== undefined) return this.grid.column(cell.dataset.head)?.about?.() ?? null;
    const column = this.grid.shown[Number(cell.dataset.column)];
    return (line && column?.tip?.(this.grid.order[Number(line.dataset.place)])) ?? null;
  }

  /** @param {KeyboardEvent} event */
  steer(event) {
    const { order, shown, options } = this.grid;
    const step = CURSOR_STEPS[event.key];
    if (event.key === "Enter" && this.row >= 0) options.onPick?.(order[this.row]);
    if (!step || !order.length || !shown.length) return;
    event.preventDefault();
    const clamp = (/** @type {number} */ value, /** @type {number} */ size) => Math.max(0, Math.min(size - 1, value));
    this.row = clamp(this.row + step[0], order.length);
    this.column = clamp(this.column + step[1], shown.length);
    this.reveal();
  }

  /** Scroll to the cursor, mark its cell, and explain it. */
  reveal() {
    const { table } = this.grid;
    this.scroll();
    this.grid.draw(false);
    for (const old of table.querySelectorAll(".cursor")) {
      old.removeAttribute("id");
      old.classList.remove("cursor");
    }
    const cell = table.querySelector(`tr[data-place="${this.row}"] td[data-column="${this.column}"]`);
    if (!cell) return;
    cell.classList.add("cursor");
    cell.id = this.id;
    table.setAttribute("aria-activedescendant", this.id);
    requestAnimationFrame(() => this.explain(cell));
  }

  scroll() {
    const { scroller, table } = this.grid;
    const { offsets } = this.grid.part();
    const height = this.grid.rowHeight();
    const room = scroller.clientHeight - (table.tHead?.offsetHeight ?? 0);
    const wide = scroller.clientWidth - this.grid.headWidth();
    scroller.scrollTo({
      top: Math.min(this.row * height, Math.max(scroller.scrollTop, (this.row + 1) * height - room)),
      left: Math.min(offsets[this.column], Math.max(scroller.scrollLeft, offsets[this.column + 1] - wide)),
      behavior: "instant",
    });
  }
}
