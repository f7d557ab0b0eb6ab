// What is under the pointer, in words. One element, wherever it is needed.

import { make } from "./tools.js";

export class Tip {
  // `words(x, y)`: lines for a place of the element, or nothing.
  constructor(element, words) {
    this.element = element;
    this.words = words;
    element.addEventListener("pointermove", (event) => this.follow(event), { passive: true });
    for (const name of ["pointerleave", "pointerdown"]) element.addEventListener(name, () => this.hide(), true);
  }

  // Asked once per frame, however often the pointer moves.
  follow({ clientX, clientY, pointerType, buttons }) {
    if (pointerType === "touch" || buttons) return;
    const isAsked = Boolean(this.place);
    this.place = [clientX, clientY];
    if (!isAsked) requestAnimationFrame(() => this.show());
  }

  show() {
    if (!this.place) return;
    const [x, y] = this.place;
    this.place = null;
    const around = this.element.getBoundingClientRect();
    const lines = this.words(x - around.left, y - around.top);
    if (!lines?.length) return this.hide();
    this.fill(lines);
    this.put(x - around.left, y - around.top, around);
  }

  fill(lines) {
    if (!this.shown) {
      this.shown = make("div", "chart-tip");
      this.shown.setAttribute("aria-hidden", "true"); // the table says the same
      this.element.append(this.shown);
    }
    const text = lines.join("\n");
    if (this.shown.textContent !== text) this.shown.textContent = text;
  }

  put(x, y, around) {
    const { offsetWidth: width, offsetHeight: height } = this.shown;
    this.shown.style.left = `${Math.max(0, Math.min(x + 14, around.width - width - 4))}px`;
    this.shown.style.top = `${y + 16 + height > around.height ? Math.max(0, y - height - 8) : y + 16}px`;
  }

  hide() {
    this.place = null;
    this.shown?.remove();
    this.shown = null;
  }
}
