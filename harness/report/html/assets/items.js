/* The browser of changed items: a list that draws only its visible part, and one item in full beside it. */

const ITEM_HEIGHT = 52;

/**
 * @typedef {object} Side one system's response
 * @property {string | number} response
 * @property {string} [text] before stop sequences were applied and the answer was extracted
 * @property {number[]} [logprobs]
 * @property {Record<string, number>} [scores]
 * @property {string} [prompt]
 *
 * @typedef {Side & {task: string, id: string, template?: string, prompt: string, target: (string | number)[], choices?: string[], labels?: Record<string, string>}} Sample
 * @typedef {Side & {candidate: number, sample: number, kind: "lost" | "gained" | "worse" | "better", change: number}} Change
 */

class ItemBrowser {
  /**
   * @param {{samples: Sample[], changes: Change[], candidates: {name: string}[], base: {name: string}}} data
   */
  constructor(data) {
    this.data = data;
    this.candidate = 0;
    this.filters = { query: "", task: "", kinds: new Set(), order: "worst" };
    /** @type {Change[]} */
    this.shown = [];
    /** @type {Change | null} */
    this.open = null;
    this.against = "other";
    this.list = h("div", { class: "list", role: "listbox", tabindex: 0, "aria-label": "Changed items" });
    this.detail = h("article", { class: "detail", "aria-live": "polite", "aria-label": "Item" });
    this.status = h("p", { class: "status", role: "status" });
    this.tools = h("div", { class: "tools" });
    this.texts = new Map();
    byId("items").replaceChildren(this.tools, this.status, h("div", { class: "browser" }, this.list, this.detail));
    this.listen();
  }

  /** @param {Change} change */
  sample(change) {
    return this.data.samples[change.sample];
  }

  changes() {
    return this.data.changes.filter((change) => change.candidate === this.candidate);
  }

  /** Show a candidate's items. @param {number} candidate */
  choose(candidate) {
    this.candidate = candidate;
    byId("items").classList.toggle("bare", !this.changes().length);
    this.filters.task = this.changes().some((change) => this.sample(change).task === this.filters.task) ? this.filters.task : "";
    this.filters.kinds.clear();
    this.makeTools();
    this.apply();
  }

  /** Show the items of a task. @param {string} task */
  chooseTask(task) {
    this.filters.task = task;
    this.makeTools();
    this.apply();
  }

  makeTools() {
    const changes = this.changes();
    const tasks = d3.rollups(
      changes,
      (group) => group.length,
      (change) => this.sample(change).task,
    );
    const kinds = d3.rollups(
      changes,
      (group) => group.length,
      (change) => change.kind,
    );
    const search = searcher("Search", "prompt, answers, reference, id…", (text) => {
      this.filters.query = text;
      this.apply();
    });
    search.querySelector("input").value = this.filters.query;
    const chips = kinds.map(([kind, count]) => {
      const chip = h(
        "button",
        { type: "button", class: `chip ${kind}`, "aria-pressed": String(this.filters.kinds.has(kind)) },
        `${kind} ${countText(count)}`,
      );
      chip.addEventListener("click", () => {
        if (!this.filters.kinds.delete(kind)) this.filters.kinds.add(kind);
        chip.setAttribute("aria-pressed", String(this.filters.kinds.has(kind)));
        this.apply();
      });
      return chip;
    });
    this.tools.replaceChildren(
      search,
      chooser(
        "Task",
        [
          ["", `all (${countText(changes.length)})`],
          ...tasks.map(([task, count]) => /** @type {[string, string]} */ ([task, `${task} (${countText(count)})`])),
        ],
        this.filters.task,
        (task) => {
          this.filters.task = task;
          this.apply();
        },
      ),
      chooser(
        "Order",
        [
          ["worst", "worst first"],
          ["best", "best first"],
          ["task", "as in the tasks"],
        ],
        this.filters.order,
        (order) => {
          this.filters.order = order;
          this.apply();
        },
      ),
      h("div", { class: "field" }, h("span", {}, "Kind"), h("div", { class: "chips" }, chips)),
    );
  }

  /** The searched texts of an item, in lower case. @param {Change} change */
  text(change) {
    let text = this.texts.get(change);
    if (text === undefined) {
      const sample = this.sample(change);
      const parts = [sample.id, sample.prompt, change.prompt, ...sample.target, sample.response, sample.text, change.response, change.text];
      text = parts
        .filter((part) => typeof part === "string")
        .join("\n")
        .toLowerCase();
      this.texts.set(change, text);
    }
    return text;
  }

  apply() {
    const { query, task, kinds, order } = this.filters;
    const matches = matcher(query);
    this.shown = this.changes().filter(
      (change) =>
        (!task || this.sample(change).task === task) && (!kinds.size || kinds.has(change.kind)) && (!query || matches(this.text(change))),
    );
    const sign = { worst: 1, best: -1, task: 0 }[order] ?? 0;
    if (sign) this.shown.sort((first, second) => sign * (first.change - second.change));
    else this.shown.sort((first, second) => first.sample - second.sample);
    const total = this.changes().length;
    this.status.textContent = total ? `${countText(this.shown.length)} of ${countText(total)} changed items` : "";
    this.list.scrollTop = 0;
    const still = this.open && this.shown.includes(this.open) ? this.open : (this.shown[0] ?? null);
    this.show(still, false);
  }

  /** Draw the visible part of the list. */
  draw() {
    const first = Math.max(0, Math.floor(this.list.scrollTop / ITEM_HEIGHT) - 5);
    const last = Math.min(this.shown.length, Math.ceil((this.list.scrollTop + this.list.clientHeight) / ITEM_HEIGHT) + 5);
    const space = h("div", { class: "space", role: "presentation" });
    space.style.height = `${this.shown.length * ITEM_HEIGHT}px`;
    for (let place = first; place < last; place += 1) space.append(this.option(place));
    this.list.replaceChildren(space);
    this.list.setAttribute("aria-activedescendant", this.open ? "open-item" : "");
  }

  /** @param {number} place */
  option(place) {
    const change = this.shown[place];
    const sample = this.sample(change);
    const chosen = change === this.open;
    const option = h(
      "div",
      {
        class: "option",
        role: "option",
        id: chosen ? "open-item" : null,
        "aria-selected": String(chosen),
        "aria-posinset": place + 1,
        "aria-setsize": this.shown.length,
        click: () => this.show(change, true),
      },
      h(
        "div",
        { class: "line" },
        h("span", { class: `badge ${change.kind}` }, change.kind),
        h("span", { class: "where" }, `${sample.task} · ${sample.id}`),
        h("span", { class: "number" }, changeText(change.change, "share")),
      ),
      h("div", { class: "snippet" }, snippet(sample, change)),
    );
    option.style.top = `${place * ITEM_HEIGHT}px`;
    return option;
  }

  /**
   * Open an item.
   * @param {Change | null} change
   * @param {boolean} link whether to put a link to it into the address
   */
  show(change, link) {
    this.open = change;
    if (change && link) history.replaceState(null, "", `#item=${this.name(change)}`);
    this.reveal();
    this.draw();
    const held = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset?.focus;
    const nothing = h("p", { class: "empty" }, this.changes().length ? "No items match." : "No item changed.");
    this.detail.replaceChildren(...(change ? wholeItem(this.view(change)) : [nothing]));
    if (held) this.detail.querySelector(`[data-focus="${held}"]`)?.focus({ preventScroll: true });
    for (const prompt of this.detail.querySelectorAll(".prompt pre")) prompt.scrollTop = prompt.scrollHeight;
  }

  /** @param {Change} change @returns {ItemView} */
  view(change) {
    return {
      sample: this.sample(change),
      change,
      names: { base: this.data.base.name, candidate: this.data.candidates[this.candidate].name },
      place: this.shown.indexOf(change),
      count: this.shown.length,
      move: (step) => this.move(step),
      against: this.against,
      mark: (against) => {
        this.against = against;
        this.show(this.open, false);
      },
    };
  }

  reveal() {
    const place = this.open ? this.shown.indexOf(this.open) : -1;
    if (place < 0) return;
    const top = Math.min(place * ITEM_HEIGHT, Math.max(this.list.scrollTop, (place + 1) * ITEM_HEIGHT - this.list.clientHeight));
    this.list.scrollTop = top;
  }

  /** Candidate, task, template and id, as the address has them. @param {Change} change */
  name(change) {
    const sample = this.sample(change);
    return [this.data.candidates[change.candidate].name, sample.task, sample.template ?? "", sample.id].map(encodeURIComponent).join("/");
  }

  /** The item that the address names. */
  linked() {
    const name = location.hash.startsWith("#item=") ? location.hash.slice("#item=".length) : "";
    return name ? (this.data.changes.find((change) => this.name(change) === name) ?? null) : undefined;
  }

  /** Go to the item that the address names. @param {(candidate: number) => void} onCandidate */
  follow(onCandidate) {
    const change = this.linked();
    if (change === undefined) return;
    if (!change) {
      this.status.textContent = "The item that this address links to is not in this page.";
      return;
    }
    Object.assign(this.filters, { query: "", task: "" });
    onCandidate(change.candidate);
    this.show(change, true);
    byId("items").scrollIntoView({ block: "start" });
  }

  /** @param {number} step */
  move(step) {
    if (!this.shown.length) return;
    const place = this.open ? this.shown.indexOf(this.open) : -1;
    this.show(this.shown[Math.max(0, Math.min(this.shown.length - 1, place + step))], true);
  }

  listen() {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -1e9, End: 1e9 };
    this.list.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const step = steps[/** @type {keyof typeof steps} */ (event.key)];
      if (!step) return;
      event.preventDefault();
      this.move(step);
    });
    this.list.addEventListener("scroll", () => requestAnimationFrame(() => this.draw()), { passive: true });
    new ResizeObserver(() => this.draw()).observe(this.list);
  }
}

/** @param {Sample} sample @param {Change} change */
function snippet(sample, change) {
  if (typeof sample.response === "number")
    return `${choiceName(sample, sample.response)} → ${choiceName(sample, change.response)}, correct: ${sample.target.map((place) => choiceName(sample, place)).join(" or ")}`;
  return String(change.response).slice(0, 200) || "(nothing)";
}

/** A choice's text, or where the results do not hold it, its number. @param {Sample} sample @param {string | number} place */
function choiceName(sample, place) {
  return typeof place === "number" ? (sample.choices?.[place] ?? `choice ${place + 1}`) : place;
}
