/* A table that sorts, filters, folds groups of columns, and draws only what can be seen.

   Up to SMALL cells all of it is drawn, so that the browser's own search finds everything. */

const SMALL = 2500;
const SPARE_ROWS = 6;
const SPARE_COLUMNS = 3;

/**
 * @typedef {object} TableColumn
 * @property {string} id
 * @property {string} group key of its group
 * @property {string} label
 * @property {string} [sub] second line of its head
 * @property {number} width pixels
 * @property {boolean} [text] left-aligned, and sorted from A
 * @property {boolean} [lower] whether less is better; such a column is sorted from the least first
 * @property {(row: any) => number | string | null} value what it is sorted by; null goes last either way
 * @property {(row: any) => Child | Child[]} render
 * @property {(row: any) => Child[] | null} [tip] the tooltip of a cell
 * @property {() => Child[] | null} [about] the tooltip of the head
 */

/**
 * @typedef {object} TableGroup
 * @property {string} key
 * @property {string} title
 * @property {string} [about]
 * @property {TableColumn} [summary] stands for the group when it is folded
 */

/**
 * @typedef {object} TableOptions
 * @property {HTMLElement} host
 * @property {string} label
 * @property {[string, string]} noun what a row is, one and many
 * @property {TableColumn} head the sticky first column
 * @property {TableGroup[]} groups in the order of the columns
 * @property {TableColumn[]} columns
 * @property {any[]} rows
 * @property {(row: any) => string} [rowClass]
 * @property {(row: any) => void} [onPick] on Enter or a click
 * @property {() => void} [onFilter] after other rows were chosen
 */

class VirtualTable {
  /** @param {TableOptions} options */
  constructor(options) {
    this.options = options;
    this.rows = options.rows;
    this.order = options.rows;
    this.sort = { id: "", descending: false };
    this.matches = (/** @type {any} */ _row) => true;
    this.showsColumn = (/** @type {TableColumn} */ _column) => true;
    /** @type {Set<string>} */
    this.folded = new Set();
    /** @type {TableColumn[]} */
    this.shown = [];
    this.window = "";
    this.table = h("table", { class: "grid", role: "grid", tabindex: 0, "aria-label": options.label });
    this.scroller = h("div", { class: "scroller" }, this.table);
    this.status = h("p", { class: "status", role: "status" });
    options.host.replaceChildren(this.status, this.scroller);
    this.cursor = new TableCursor(this);
    this.listen();
    this.arrange();
  }

  /** The column of this id. @param {string} id */
  column(id) {
    return id === this.options.head.id
      ? this.options.head
      : [...this.options.columns, ...this.summaries()].find((column) => column.id === id);
  }

  summaries() {
    return this.options.groups.flatMap((group) => group.summary ?? []);
  }

  /**
   * Sort by a column; once more turns the order.
   * @param {string} id
   * @param {boolean} [descending] by default best first
   */
  sortBy(id, descending) {
    const column = this.column(id);
    if (!column) return;
    const usual = !column.text && !column.lower;
    this.sort = { id, descending: descending ?? (this.sort.id === id ? !this.sort.descending : usual) };
    this.scroller.scrollTop = 0;
    this.arrange();
  }

  /** @param {(row: any) => boolean} matches */
  filterRows(matches) {
    this.matches = matches;
    this.arrange();
    this.options.onFilter?.();
  }

  /** @param {(column: TableColumn) => boolean} shows */
  filterColumns(shows) {
    this.showsColumn = shows;
    this.arrange();
  }

  /** @param {string} key */
  fold(key) {
    if (!this.folded.delete(key)) this.folded.add(key);
    this.arrange();
  }

  /** Find the order of the rows and the columns to show, and draw. */
  arrange() {
    this.order = this.rows.filter((row) => this.matches(row));
    const by = this.column(this.sort.id);
    if (by) this.order.sort(comparison(this.order, by, this.sort.descending ? -1 : 1));
    this.shown = this.shownColumns();
    this.cursor.reset();
    this.draw(true);
    this.describe(by);
  }

  shownColumns() {
    const columns = this.options.columns.filter((column) => this.showsColumn(column));
    return this.options.groups.flatMap((group) => {
      const inGroup = columns.filter((column) => column.group === group.key);
      if (!inGroup.length || !this.folded.has(group.key)) return inGroup;
      return [
        group.summary ?? {
          ...inGroup[0],
          id: `folded ${group.key}`,
          label: `${inGroup.length} folded`,
          sub: "",
          width: 90,
          value: () => null,
          render: () => "…",
          tip: undefined,
          about: undefined,
        },
      ];
    });
  }

  /** @param {TableColumn | undefined} by */
  describe(by) {
    const few = this.order.length < this.rows.length ? `${countText(this.order.length)} of ` : "";
    const way =
      by && (by.text ? (this.sort.descending ? "Z first" : "A first") : this.sort.descending === !by.lower ? "best first" : "worst first");
    const order = by ? `, by ${[by.label, by.sub].filter(Boolean).join(" ")}, ${way}` : "";
    this.status.textContent = `${few}${countText(this.rows.length)} ${this.options.noun[this.rows.length === 1 ? 0 : 1]}${order}`;
  }

  headWidth() {
    const room = this.scroller.clientWidth || 800;
    return Math.round(Math.min(this.options.head.width, Math.max(150, room * 0.34)));
  }

  rowHeight() {
    return parseFloat(getComputedStyle(this.scroller).getPropertyValue("--row")) || 44;
  }

  /** The part to draw: first and last row and column, and the widths before them. */
  part() {
    const columns = this.shown;
    const offsets = [0];
    for (const column of columns) offsets.push(offsets[offsets.length - 1] + column.width);
    const small = this.order.length * columns.length <= SMALL;
    const { scrollTop, scrollLeft, clientHeight, clientWidth } = this.scroller;
    const height = this.rowHeight();
    const firstRow = small ? 0 : Math.max(0, Math.floor(scrollTop / height) - SPARE_ROWS);
    const lastRow = small ? this.order.length : Math.min(this.order.length, Math.ceil((scrollTop + clientHeight) / height) + SPARE_ROWS);
    const room = clientWidth - this.headWidth();
    const seen = (/** @type {number} */ place) => offsets[place + 1] > scrollLeft && offsets[place] < scrollLeft + room;
    const visible = columns.map((_, place) => place).filter(seen);
    const firstColumn = small || !visible.length ? 0 : Math.max(0, visible[0] - SPARE_COLUMNS);
    const lastColumn =
      small || !visible.length ? columns.length : Math.min(columns.length, visible[visible.length - 1] + 1 + SPARE_COLUMNS);
    return { firstRow, lastRow, firstColumn, lastColumn, offsets };
  }

  /** @param {boolean} anew whether to draw even where the part is the same */
  draw(anew) {
    const part = this.part();
    const name = [part.firstRow, part.lastRow, part.firstColumn, part.lastColumn].join();
    if (!anew && name === this.window) return;
    this.window = name;
    const focus = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset?.focus;
    const held = focus && this.table.contains(document.activeElement) ? focus : null;
    const columns = this.shown.slice(part.firstColumn, part.lastColumn);
    const before = part.offsets[part.firstColumn];
    const whole = this.headWidth() + part.offsets[part.offsets.length - 1];
    const after = Math.max(whole, this.scroller.clientWidth) - this.headWidth() - part.offsets[part.lastColumn];
    const spare = (/** @type {number} */ width) => (width ? [h("td", { class: "spare", role: "presentation" })] : []);
    const visibleWidths = columns.map((column) => column.width);
    const widths = [this.headWidth(), ...(before ? [before] : []), ...visibleWidths, ...(after ? [after] : [])];
    this.table.style.width = `${widths.reduce((sum, width) => sum + width, 0)}px`;
    this.table.setAttribute("aria-rowcount", String(this.order.length + 2));
    this.table.setAttribute("aria-colcount", String(this.shown.length + 1));
    const height = this.rowHeight();
    const body = h("tbody", {}, this.blank(part.firstRow * height));
    for (let place = part.firstRow; place < part.lastRow; place += 1) {
      body.append(this.line(place, columns, part.firstColumn, spare(before), spare(after)));
    }
    body.append(...this.blank((this.order.length - part.lastRow) * height));
    if (!this.order.length)
      body.append(h("tr", {}, h("td", { class: "empty", colspan: widths.length }, `No ${this.options.noun[1]} match.`)));
    this.table.replaceChildren(columnWidths(widths), this.heads(columns, spare(before), spare(after), part.firstColumn), body);
    if (held) this.table.querySelector(`[data-focus="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
  }

  /** @param {number} height */
  blank(height) {
    if (height <= 0) return [];
    const row = h("tr", { class: "spare", "aria-hidden": "true" });
    row.style.height = `${height}px`;
    return [row];
  }

  /**
   * @param {TableColumn[]} columns
   * @param {Node[]} before
   * @param {Node[]} after
   * @param {number} first place of the first of the columns
   */
  heads(columns, before, after, first) {
    const corner = this.headCell(this.options.head, 0);
    corner.setAttribute("rowspan", "2");
    corner.classList.add("corner");
    const groups = this.options.groups.filter((group) => columns.some((column) => column.group === group.key));
    const titles = groups.map((group) => {
      const span = columns.filter((column) => column.group === group.key).length;
      const count = this.options.columns.filter((column) => column.group === group.key && this.showsColumn(column)).length;
      const folded = this.folded.has(group.key);
      const button = h(
        "button",
        {
          type: "button",
          "aria-expanded": String(!folded),
          title: group.about,
          "data-focus": `group ${group.key}`,
          click: () => this.fold(group.key),
        },
        h("span", { class: "chevron", "aria-hidden": "true" }, folded ? "▸" : "▾"),
        h("span", {}, group.title),
        h("span", { class: "count" }, count),
      );
      return h("th", { scope: "colgroup", colspan: span, class: "family" }, button);
    });
    const twin = (/** @type {Node[]} */ cells) => cells.map((cell) => cell.cloneNode());
    return h(
      "thead",
      {},
      h("tr", { class: "families" }, corner, before, titles, after),
      h(
        "tr",
        { class: "columns" },
        twin(before),
        columns.map((column, place) => this.headCell(column, first + place + 1)),
        twin(after),
      ),
    );
  }

  /**
   * @param {TableColumn} column
   * @param {number} place
   */
  headCell(column, place) {
    const sorted = this.sort.id === column.id;
    const way = sorted ? (this.sort.descending ? "descending" : "ascending") : "none";
    const mark = h("span", { class: "mark", "aria-hidden": "true" }, sorted ? (this.sort.descending ? "▼" : "▲") : "");
    const button = h(
      "button",
      { type: "button", class: "sorter", "data-focus": `sort ${column.id}`, click: () => this.sortBy(column.id) },
      h("span", { class: "name" }, breakable(column.label)),
      column.sub && h("span", { class: "sub" }, column.sub),
      mark,
    );
    const cell = h("th", { scope: "col", class: column.text ? "text" : "", "aria-sort": way, "aria-colindex": place + 1 }, button);
    cell.dataset.head = column.id;
    return cell;
  }

  /**
   * @param {number} place
   * @param {TableColumn[]} columns
   * @param {number} first
   * @param {Node[]} before
   * @param {Node[]} after
   */
  line(place, columns, first, before, after) {
    const row = this.order[place];
    const cells = columns.map((column, number) => {
      const cell = h("td", { class: column.text ? "text" : "", "aria-colindex": first + number + 2 }, column.render(row));
      cell.dataset.column = String(first + number);
      return cell;
    });
    const head = h("th", { scope: "row", "aria-colindex": 1 }, this.options.head.render(row));
    const twins = (/** @type {Node[]} */ list) => list.map((cell) => cell.cloneNode());
    const line = h("tr", { class: this.options.rowClass?.(row), "aria-rowindex": place + 3 }, head, twins(before), cells, twins(after));
    line.dataset.place = String(place);
    return line;
  }

  /** Draw again when another part is seen. */
  listen() {
    let waiting = false;
    const later = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        this.draw(false);
      });
    };
    this.scroller.addEventListener("scroll", later, { passive: true });
    new ResizeObserver(() => this.draw(true)).observe(this.scroller);
  }
}

/**
 * The order of rows by a column; null goes last, and equal rows stay as they are.
 * @param {any[]} rows
 * @param {TableColumn} column
 * @param {1 | -1} sign
 * @returns {(one: any, other: any) => number}
 */
function comparison(rows, column, sign) {
  const keys = new Map(rows.map((row) => [row, column.value(row)]));
  return (one, other) => {
    const [first, second] = [keys.get(one) ?? null, keys.get(other) ?? null];
    if (first === null || second === null) return Number(first === null) - Number(second === null);
    if (typeof first === "string") return sign * first.localeCompare(String(second), "en", { numeric: true });
    return sign * (Number(first) - Number(second));
  };
}

/** @param {number[]} widths */
function columnWidths(widths) {
  const columns = widths.map((width) => {
    const column = h("col");
    column.style.width = `${width}px`;
    return column;
  });
  return h("colgroup", {}, columns);
}
