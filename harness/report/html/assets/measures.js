/* The seven families of measures: a table by task and family, reliability diagrams, and what is lost on perturbed items.

   With `changes` the first system is a base, and every other is shown beside it. */

/**
 * @typedef {[number | null, number | null, number | null, number | null, number, number | null, number | null, Record<string, number>]} Measure
 *   place of its name, value, low, high, n, place of the reason, place of what differs, further numbers
 * @typedef {{systems: string[], families: {key: string, title: string, about: string}[], measures: [string, string, 0 | 1, string][],
 *   texts: string[], rows: {name: string, group: boolean, member: boolean}[], cells: (Record<string, Measure[]> | null)[][],
 *   diagrams: Diagram[], drops: Drop[],
 *   changes: Record<string, Record<string, [number | null, number | null, number | null, string, string | null]>>[] | null}} MeasureData
 * @typedef {{system: number, place: number}} MeasureRow
 */

const MOST_DIAGRAMS = 12;

class Measures {
  /** @param {MeasureData} content */
  constructor(content) {
    this.content = content;
    this.paired = content.changes !== null;
    this.system = this.paired ? 1 : 0;
    /** Whether systems stand beside each other without one being the base. */
    this.compares = !this.paired && content.systems.length > 1;
    /** Place of the row whose systems are shown under each other, or -1 for all rows of one system. */
    this.row = -1;
    this.shown = { task: "", measure: "", systems: "" };
    this.dropTask = "";
    this.dropSystem = 0;
    this.table = this.makeTable();
    this.makeTools();
    this.makeDiagramTools();
    this.makeDropTools();
    this.draw();
  }

  /** Show another system; with a base, another candidate. @param {number} system */
  choose(system) {
    this.system = system;
    this.row = -1;
    this.draw();
  }

  /** @param {number} [room] pixels */
  draw(room) {
    this.table.filterRows(({ system, place }) => (this.row < 0 ? system === this.system : place === this.row));
    this.drawDiagrams();
    this.drawDrops(room);
  }

  /** The systems to choose from: all, or with a base all others. */
  get choices() {
    return this.content.systems.map((name, place) => /** @type {[string, string]} */ ([String(place), name])).slice(this.paired ? 1 : 0);
  }

  makeTools() {
    if (!this.compares) return;
    const tasks = this.content.rows.map((row, place) => /** @type {[string, string]} */ ([`row ${place}`, `${row.name}, all systems`]));
    byId("measure-tools").append(
      chooser("Show", [...this.choices, ...tasks], String(this.system), (value) => {
        this.row = value.startsWith("row ") ? Number(value.slice(4)) : -1;
        if (this.row < 0) this.system = Number(value);
        this.draw();
      }),
    );
  }

  // The table

  makeTable() {
    const { systems, rows, cells, families } = this.content;
    const first = this.paired ? 1 : 0;
    const all = systems.flatMap((_, system) => (system < first ? [] : rows.map((_row, place) => ({ system, place }))));
    return new VirtualTable({
      host: byId("measure-table"),
      label: "Measures",
      noun: ["row", "rows"],
      head: {
        id: "task",
        group: "",
        label: "Task",
        width: 210,
        text: true,
        value: (row) => this.name(row),
        render: (row) => this.head(row),
      },
      groups: [{ key: "families", title: this.paired ? "Base → candidate" : "Families of measures" }],
      columns: families.map((family) => this.column(family)),
      rows: all.filter(({ system, place }) => cells[system][place]),
    });
  }

  /** @param {MeasureRow} row */
  name({ system, place }) {
    return this.row < 0 ? this.content.rows[place].name : this.content.systems[system];
  }

  /** @param {MeasureRow} row */
  head(row) {
    const { group, member } = this.content.rows[row.place];
    const name = this.name(row);
    return h("div", { class: this.row < 0 ? (group ? "group" : member ? "member" : "") : "", title: name }, breakable(name));
  }

  /**
   * @param {{key: string, title: string, about: string}} family
   * @returns {TableColumn}
   */
  column({ key, title, about }) {
    return {
      id: `family ${key}`,
      group: "families",
      label: title,
      width: 162,
      value: (row) => this.first(row.system, row.place, key)?.[1] ?? null,
      render: (row) => this.cell(row, key),
      tip: (row) => this.tip(row, key),
      about: () => [h("strong", {}, title), about],
    };
  }

  /** The first measure of a family. @param {number} system @param {number} place @param {string} family */
  first(system, place, family) {
    return this.content.cells[system][place]?.[family]?.[0];
  }

  /** The base's measure of the same name. @param {number} place @param {string} family @param {Measure} measure */
  before(place, family, measure) {
    return this.paired ? this.content.cells[0][place]?.[family]?.find((other) => other[0] === measure[0]) : undefined;
  }

  /** @param {MeasureRow} row @param {Measure} measure */
  change({ system, place }, measure) {
    const name = measure[0] === null ? "" : this.content.measures[measure[0]][0];
    return this.content.changes?.[system - 1][this.content.rows[place].name]?.[name];
  }

  /** @param {number | null} place */
  text(place) {
    return place === null ? "" : this.content.texts[place];
  }

  /** @param {MeasureRow} row @param {string} family */
  cell(row, family) {
    const measure = this.first(row.system, row.place, family);
    if (!measure) return h("span", { class: "none" }, NONE);
    if (measure[0] === null || measure[1] === null)
      return [h("span", { class: "none" }, NONE), h("span", { class: "why" }, this.text(measure[5]))];
    const [name, unit, higher] = this.content.measures[measure[0]];
    const before = this.before(row.place, family, measure);
    const from = before ? `${valueText(before[1], unit)} → ` : "";
    const change = this.change(row, measure);
    const n = `n ${countText(measure[4])}`;
    const [second, third] = change
      ? [`${changeText(change[0], unit)} ${intervalText(change[1], change[2], unit)}`, `${n} · ${name}`]
      : [`${intervalText(measure[2], measure[3], unit) || "no interval"} ${n}`, name];
    return [
      h("span", { class: "value" }, `${from}${valueText(measure[1], unit)} ${higher ? "↑" : "↓"}${measure[6] === null ? "" : "†"}`),
      h("span", { class: "sub" }, second),
      h("span", { class: "sub" }, third),
    ];
  }

  /** @param {MeasureRow} row @param {string} family */
  tip(row, family) {
    const { title } = this.content.families.find(({ key }) => key === family) ?? { title: family };
    const measures = this.content.cells[row.system][row.place]?.[family] ?? [];
    const lines = measures.map((measure) => h("div", { class: "more" }, this.words(row, family, measure)));
    return [
      h("strong", {}, `${this.name(row)}: ${title.toLowerCase()}`),
      lines.length ? lines : `Not measured; add --measures ${family} to the run.`,
    ].flat();
  }

  /** One measure in words. @param {MeasureRow} row @param {string} family @param {Measure} measure */
  words(row, family, measure) {
    const [place, value, low, high, n, reason, differs, beside] = measure;
    if (place === null) return `${NONE} ${this.text(reason)}`;
    const [name, unit, higher] = this.content.measures[place];
    const extra = Object.entries(beside).map(([what, number]) => `${what} ${valueText(number, "")}`);
    const before = this.before(row.place, family, measure);
    const change = this.change(row, measure);
    return [
      `${name}: ${value === null ? `${NONE}, ${this.text(reason)}` : `${valueText(value, unit)} ${intervalText(low, high, unit)}`}`,
      `${unit}, ${higher ? "more" : "less"} is better, n ${countText(n)}`,
      ...extra,
      before && `base ${valueText(before[1], unit)} ${intervalText(before[2], before[3], unit)}`,
      change &&
        (change[4]
          ? `no test of the change: ${change[4]}`
          : `change ${changeText(change[0], unit)} ${intervalText(change[1], change[2], unit)}, ${change[3]}`),
      differs !== null && `† measured differently: ${this.text(differs)}`,
    ]
      .filter(Boolean)
      .join("; ");
  }

  // The diagrams

  makeDiagramTools() {
    const { diagrams } = this.content;
    if (!diagrams.length) return;
    const names = (/** @type {"task" | "measure"} */ key) => [...new Set(diagrams.map((diagram) => diagram[key]))];
    const drawn = diagrams.find((diagram) => diagram.points.length) ?? diagrams[0];
    Object.assign(this.shown, { task: drawn.task, measure: drawn.measure });
    const options = (/** @type {string[]} */ list) => list.map((name) => /** @type {[string, string]} */ ([name, name]));
    const tools = byId("diagram-tools");
    for (const [key, label] of /** @type {["task" | "measure", string][]} */ ([
      ["task", "Task"],
      ["measure", "Measure"],
    ])) {
      tools.append(
        chooser(label, options(names(key)), this.shown[key], (value) => {
          this.shown[key] = value;
          this.drawDiagrams();
        }),
      );
    }
    if (!this.compares) return;
    tools.append(
      chooser("Systems", [["", "all, side by side"], ...this.choices], "", (value) => {
        this.shown.systems = value;
        this.drawDiagrams();
      }),
    );
  }

  drawDiagrams() {
    const { diagrams, systems } = this.content;
    if (!diagrams.length) return;
    const { task, measure } = this.shown;
    const ofTask = diagrams.filter((diagram) => diagram.task === task && diagram.measure === measure);
    const host = byId("diagrams");
    const series = (/** @type {Diagram} */ diagram) => ({
      name: systems[diagram.system],
      isBase: this.paired && diagram.system === 0,
      diagram,
    });
    const chosen = this.paired
      ? ofTask.filter((diagram) => diagram.system === 0 || diagram.system === this.system)
      : ofTask.filter((diagram) => !this.shown.systems || diagram.system === Number(this.shown.systems));
    const figures =
      this.paired && chosen.length
        ? [reliabilityFigure(task, chosen.map(series))]
        : chosen.slice(0, MOST_DIAGRAMS).map((diagram) => reliabilityFigure(`${systems[diagram.system]}, ${task}`, [series(diagram)]));
    host.replaceChildren(...figures);
    if (!chosen.length) host.append(h("p", { class: "empty" }, `No ${measure} was measured on ${task}.`));
    if (chosen.length > figures.length && !this.paired)
      host.append(h("p", { class: "empty" }, `Showing ${figures.length} of ${chosen.length} systems; choose one above.`));
  }

  // The drops

  makeDropTools() {
    const tasks = [...new Set(this.content.drops.map((drop) => drop.task))];
    if (tasks.length) new ResizeObserver(() => this.drawDrops()).observe(byId("drops"));
    if (tasks.length < (this.compares ? 1 : 2)) return;
    const named = (/** @type {string} */ more) => tasks.map((name) => /** @type {[string, string]} */ ([`task ${name}`, name + more]));
    const options = this.compares ? [...this.choices, ...named(", all systems")] : [["", "all tasks"], ...named("")];
    byId("drop-tools").append(
      chooser("Perturbed", /** @type {[string, string][]} */ (options), options[0][0], (value) => {
        this.dropTask = value.startsWith("task ") ? value.slice(5) : "";
        if (this.compares && !this.dropTask) this.dropSystem = Number(value);
        this.drawDrops();
      }),
    );
  }

  /** The drops to show. */
  chosenDrops() {
    const drops = this.content.drops.filter((drop) => !this.dropTask || drop.task === this.dropTask);
    if (this.compares) return this.dropTask ? drops : drops.filter((drop) => drop.system === this.dropSystem);
    const ofSystem = drops.filter((drop) => drop.system === 0 || drop.system === this.system);
    return [...d3.group(ofSystem, (drop) => [drop.task, drop.metric, drop.signature, drop.family].join("\n")).values()].flat();
  }

  /** @param {number} [room] pixels */
  drawDrops(room) {
    const { drops, systems } = this.content;
    if (!drops.length) return;
    const several = this.paired || this.dropTask !== "";
    const lines = this.chosenDrops().map((drop) => ({
      drop,
      label: `${drop.task} · ${drop.perturbation}`,
      sub: [drop.metric, several && systems[drop.system]].filter(Boolean).join(" · "),
      isBase: this.paired && drop.system === 0,
    }));
    drawDrops(byId("drops"), lines, room);
  }
}

/**
 * The section, where the page has one.
 * @param {MeasureData | null} content
 */
function makeMeasures(content) {
  return content ? new Measures(content) : null;
}
