/* Tables on paper: whole, in blocks of columns that fit on a page. */

const PAPER_WIDTH = 960;
const PAPER_HEAD = 170;
const PAPER_NUMBER = 78;

/**
 * A table's shown columns in blocks.
 * @param {VirtualTable} table
 */
function paperBlocks(table) {
  /** @type {TableColumn[][]} */
  const blocks = [[]];
  let used = PAPER_HEAD;
  for (const column of table.shown) {
    const width = column.text ? column.width : Math.min(column.width, PAPER_NUMBER);
    if (used + width > PAPER_WIDTH) {
      blocks.push([]);
      used = PAPER_HEAD;
    }
    blocks[blocks.length - 1].push(column);
    used += width;
  }
  return blocks;
}

/**
 * @param {VirtualTable} table
 * @param {TableColumn[]} columns
 */
function paperTable(table, columns) {
  const { head } = table.options;
  const side = (/** @type {TableColumn} */ column) => ({ class: column.text ? "text" : "" });
  const sub = (/** @type {TableColumn} */ column) => column.sub && h("span", { class: "sub" }, column.sub);
  const heads = columns.map((column) => h("th", side(column), breakable(column.label), sub(column)));
  const line = (/** @type {any} */ row) => [
    h("th", { scope: "row" }, head.render(row)),
    columns.map((column) => h("td", side(column), column.render(row))),
  ];
  const lines = table.order.map((row) => h("tr", {}, line(row)));
  return h("table", { class: "grid paper" }, h("thead", {}, h("tr", {}, h("th", {}, head.label), heads)), h("tbody", {}, lines));
}

/**
 * Put whole tables in place of the scrolling ones while the page is printed.
 * @param {VirtualTable[]} tables
 * @param {(room?: number) => void} [redraw] draws the parts with a fixed width, for a width in pixels or for the window
 */
function printWhole(tables, redraw) {
  /** @type {Element[]} */
  let made = [];
  const end = () => {
    for (const element of made) element.remove();
    made = [];
  };
  const begin = () => {
    end();
    redraw?.(PAPER_WIDTH);
    for (const table of tables) {
      const whole = h(
        "div",
        { class: "papers" },
        paperBlocks(table).map((columns) => paperTable(table, columns)),
      );
      table.options.host.append(whole);
      made.push(whole);
    }
  };
  const printing = matchMedia("print");
  const after = () => {
    end();
    redraw?.();
  };
  printing.addEventListener("change", () => (printing.matches ? begin() : after()));
  addEventListener("beforeprint", begin);
  addEventListener("afterprint", after);
}
