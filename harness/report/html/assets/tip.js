/* One floating box that explains what is under the pointer or the keyboard's cursor. */

const tip = {
  /** @type {HTMLElement | null} */
  box: null,

  /**
   * Show something beside a place.
   * @param {DOMRect} at in the window
   * @param {Child[]} content
   */
  show(at, content) {
    if (!this.box) {
      this.box = h("div", { class: "tip", role: "tooltip", id: "tip" });
      document.body.append(/** @type {HTMLElement} */ (this.box));
      document.addEventListener("keydown", (event) => event.key === "Escape" && this.hide());
      document.addEventListener("scroll", () => this.hide(), { capture: true, passive: true });
    }
    const box = /** @type {HTMLElement} */ (this.box);
    box.replaceChildren(
      ...content
        .filter((child) => child !== null && child !== undefined && child !== false)
        .map((child) => (child instanceof Node ? child : h("div", {}, child))),
    );
    box.hidden = false;
    const { width, height } = box.getBoundingClientRect();
    const left = Math.min(at.left + at.width / 2 - width / 2, document.documentElement.clientWidth - width - 8);
    const above = at.top - height - 8;
    box.style.left = `${Math.max(8, left)}px`;
    box.style.top = `${above > 8 ? above : at.bottom + 8}px`;
  },

  hide() {
    if (this.box) this.box.hidden = true;
  },
};
