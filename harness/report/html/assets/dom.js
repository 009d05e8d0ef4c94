/* Elements are made here and nowhere else. Strings become text nodes: whatever a model wrote, it stays text. */

/**
 * @typedef {Node | string | number | null | undefined | false | ChildList} Child
 * @typedef {Child[]} ChildList
 * @typedef {Record<string, string | number | boolean | null | undefined | ((event: any) => void)>} Attributes
 */

/**
 * Make an element. Attributes that are functions are listeners ("click"), those that begin with "--" are custom properties.
 * @param {string} name
 * @param {Attributes} [attributes]
 * @param {...Child} children
 * @returns {any} the element, of the class that its tag stands for
 */
function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(key, value);
    else if (key.startsWith("--")) element.style.setProperty(key, String(value));
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  fill(element, children);
  return element;
}

/**
 * Append children, and lists of them; null, undefined and false are left out.
 * @param {Element} element
 * @param {ChildList} children
 */
function fill(element, children) {
  for (const child of children) {
    if (Array.isArray(child)) fill(element, child);
    else if (child instanceof Node) element.append(child);
    else if (child !== null && child !== undefined && child !== false) element.append(String(child));
  }
}

/**
 * The element of this id, which the page's template must contain.
 * @param {string} id
 * @returns {any}
 */
function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`The page has no #${id}.`);
  return element;
}

/** @returns {any} the page's data */
function embedded() {
  return JSON.parse(byId("data").textContent);
}

/**
 * A list of names and values.
 * @param {[string, Child | Child[]][]} pairs those without a value are left out
 */
function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  return h(
    "dl",
    { class: "facts" },
    known.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
  );
}

/**
 * A choice from a list.
 * @param {string} label
 * @param {[string, string][]} options value and text
 * @param {string} chosen
 * @param {(value: string) => void} onChange
 */
function chooser(label, options, chosen, onChange) {
  const select = h("select", { "aria-label": label, change: () => onChange(select.value) });
  for (const [value, text] of options) select.append(h("option", { value, selected: value === chosen }, text));
  return h("label", { class: "field" }, h("span", {}, label), select);
}

/**
 * A box to tick.
 * @param {string} label
 * @param {boolean} checked
 * @param {(checked: boolean) => void} onChange
 */
function ticker(label, checked, onChange) {
  const box = h("input", { type: "checkbox", checked, change: () => onChange(box.checked) });
  return h("label", { class: "tick" }, box, h("span", {}, label));
}

/**
 * A box to search in.
 * @param {string} label
 * @param {string} hint
 * @param {(text: string) => void} onInput
 */
function searcher(label, hint, onInput) {
  const box = h("input", {
    type: "search",
    placeholder: hint,
    autocomplete: "off",
    spellcheck: "false",
    input: () => onInput(box.value),
  });
  return h("label", { class: "field" }, h("span", {}, label), box);
}

/**
 * Whether a text holds every word of a query, in any case.
 * @param {string} query
 * @returns {(text: string) => boolean} takes a text in lower case
 */
function matcher(query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  return (text) => words.every((word) => text.includes(word));
}

/**
 * A name with places where a line may end.
 * @param {string} name
 */
function breakable(name) {
  return name.split(/(?<=[_\-/+@.:])/).flatMap((part, place) => (place ? [h("wbr"), part] : [part]));
}
