/* One changed item in full: the responses of base and candidate, the reference, and the prompt. */

/**
 * @typedef {object} ItemView
 * @property {Sample} sample
 * @property {Change} change
 * @property {{base: string, candidate: string}} names
 * @property {number} place in the list, from 0
 * @property {number} count
 * @property {(step: number) => void} move
 * @property {string} against what the texts are marked against: "other" or "reference"
 * @property {(against: string) => void} mark
 */

/** The parts of an item's page. @param {ItemView} view @returns {Node[]} */
function wholeItem(view) {
  const { sample, change, names } = view;
  const isChoice = typeof sample.response === "number" || typeof change.response === "number";
  const labels = Object.entries(sample.labels ?? {}).map(([name, value]) => `${name}: ${value}`);
  const about = [sample.template && `template ${sample.template}`, ...labels].filter(Boolean).join(" · ");
  const answers = isChoice ? choiceTable(sample, change, names) : answerPanes(view);
  const parts = [itemHead(view), about && h("p", { class: "about" }, about), answers, scoreTable(sample, change, names)];
  return [...parts, ...prompts(sample, change, names)].filter((part) => part instanceof Node);
}

/** @param {ItemView} view */
function itemHead({ sample, change, place, count, move }) {
  const step = (/** @type {string} */ name, /** @type {number} */ by, /** @type {boolean} */ disabled) =>
    h("button", { type: "button", disabled, "data-focus": name, click: () => move(by) }, name);
  return h(
    "header",
    {},
    h("h3", {}, `${sample.task} · ${sample.id}`),
    h("span", { class: `badge ${change.kind}` }, change.kind),
    h("span", { class: "count" }, `${countText(place + 1)} of ${countText(count)}`),
    step("Previous", -1, place <= 0),
    step("Next", 1, place >= count - 1),
  );
}

/** Reference, base and candidate side by side. @param {ItemView} view */
function answerPanes({ sample, change, names, against, mark }) {
  const [base, candidate] = [String(sample.response), String(change.response)];
  const references = sample.target.map(String);
  const isReference = against === "reference";
  const ways = chooser(
    "Mark where",
    [
      ["other", "base and candidate differ"],
      ["reference", "each differs from the reference"],
    ],
    against,
    mark,
  );
  ways.querySelector("select").dataset.focus = "ways";
  const panes = [
    pane(
      "Reference",
      references.flatMap((text, place) => (place ? [h("hr"), text] : [text])),
      undefined,
    ),
    pane(`Base: ${names.base}`, isReference ? marked(references[0], base, "second") : marked(base, candidate, "first"), sample.text),
    pane(`Candidate: ${names.candidate}`, marked(isReference ? references[0] : base, candidate, "second"), change.text),
  ];
  return h("div", {}, h("div", { class: "tools" }, ways), h("div", { class: "panes" }, panes));
}

/**
 * @param {string} title
 * @param {Child[]} content
 * @param {string | undefined} raw
 */
function pane(title, content, raw) {
  const text =
    content.length && content.some((part) => part !== "" && part !== null)
      ? h("pre", {}, content)
      : h("p", { class: "empty" }, "(nothing)");
  const more = raw !== undefined && h("details", {}, h("summary", {}, "As generated, before stop sequences were applied"), h("pre", {}, raw));
  return h("section", { class: "pane" }, h("h4", {}, title), text, more);
}

/**
 * The choices with their log-probabilities under both systems.
 * @param {Sample} sample
 * @param {Change} change
 * @param {{base: string, candidate: string}} names
 */
function choiceTable(sample, change, names) {
  const [first, second] = [sample.logprobs ?? [], change.logprobs ?? []];
  const count = Math.max(first.length, second.length);
  if (!count) return h("p", {}, snippet(sample, change));
  const shares = [first, second].map(relative);
  const lines = d3.range(count).map((/** @type {number} */ place) => {
    const correct = sample.target.includes(place);
    const cells = [first, second].map((logprobs, side) => {
      const picked = (side ? change.response : sample.response) === place;
      return h(
        "td",
        { class: picked ? "picked" : "" },
        h("span", { class: "share", "aria-hidden": "true", "--share": `${(100 * (shares[side][place] ?? 0)).toFixed(1)}%` }),
        h("span", { class: "number" }, valueText(logprobs[place] ?? null, "nats")),
        picked && [" ", h("span", { class: "note" }, "chosen")],
      );
    });
    return h(
      "tr",
      { class: correct ? "correct" : "" },
      h("th", { scope: "row" }, choiceName(sample, place), correct && [" ", h("span", { class: "note" }, "correct")]),
      cells,
    );
  });
  const heads = ["", `Base: ${names.base}`, `Candidate: ${names.candidate}`].map((name) => h("th", { scope: "col" }, name));
  return h(
    "table",
    { class: "choices" },
    h("caption", {}, "Log-probability of each choice; bars are its share among the choices."),
    h("thead", {}, h("tr", {}, heads)),
    h("tbody", {}, lines),
  );
}

/** Probabilities among the choices alone. @param {number[]} logprobs */
function relative(logprobs) {
  const top = Math.max(...logprobs);
  const weights = logprobs.map((value) => Math.exp(value - top));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/**
 * The score of the item by each metric.
 * @param {Sample} sample
 * @param {Change} change
 * @param {{base: string, candidate: string}} names
 */
function scoreTable(sample, change, names) {
  const metrics = [...new Set([...Object.keys(sample.scores ?? {}), ...Object.keys(change.scores ?? {})])];
  if (!metrics.length) return null;
  const text = (/** @type {Side} */ side, /** @type {string} */ metric) => valueText(side.scores?.[metric] ?? null, "");
  const lines = metrics.map((metric) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, metric),
      h("td", { class: "number" }, text(sample, metric)),
      h("td", { class: "number" }, text(change, metric)),
    ),
  );
  const heads = ["Score of this item", names.base, names.candidate].map((name, place) =>
    h("th", { scope: "col", class: place ? "number" : "" }, name),
  );
  return h("table", { class: "scores" }, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, lines));
}

/**
 * @param {Sample} sample
 * @param {Change} change
 * @param {{base: string, candidate: string}} names
 */
function prompts(sample, change, names) {
  const prompt = (/** @type {string} */ title, /** @type {Child[]} */ text) =>
    h("details", { class: "prompt", open: true }, h("summary", {}, title), h("pre", {}, text));
  if (change.prompt === undefined) return [prompt("Prompt", [sample.prompt])];
  return [
    prompt(`Prompt of ${names.base}`, marked(sample.prompt, change.prompt, "first")),
    prompt(`Prompt of ${names.candidate}, which differs`, marked(sample.prompt, change.prompt, "second")),
  ];
}
