// Above a chart: what it shows, how many of each status, its switches and its zoom. They stand beside the title, where
// the chart's card has one.

import { icon, STATUSES } from "./words.js";

export function toolRow(host, name) {
  const row = host.closest(".card")?.querySelector(":scope > header") ?? host.appendChild(make("div", ""));
  row.classList.add("chart-tools");
  const note = make("p", "chart-note");
  const legend = make("ul", "chart-legend");
  legend.setAttribute("aria-label", `Statuses in the ${name}`);
  const controls = make("div", "chart-controls");
  row.append(legend, note, controls);
  return { note, legend, controls };
}

export function make(tag, className) {
  const element = document.createElement(tag);
  element.className = className;
  return element;
}

export function button(host, text, label, onClick) {
  const element = make("button", "chart-button");
  element.type = "button";
  element.textContent = text;
  element.title = label;
  element.setAttribute("aria-label", label);
  element.addEventListener("click", onClick);
  host.append(element);
  return element;
}

export function checkbox(host, text, checked, onChange) {
  const label = make("label", "chart-switch");
  const input = document.createElement("input");
  input.type = "checkbox";
  input.checked = checked;
  input.addEventListener("change", () => onChange(input.checked));
  label.append(input, ` ${text}`);
  host.append(label);
  return { label, input };
}

// Statuses with icon, number and word; an element is changed only where its text is.
export function fillLegend(legend, counts) {
  for (const status of Object.keys(STATUSES)) {
    let item = legend.querySelector(`[data-status=${status}]`);
    if (!item) {
      item = make("li", "chart-status");
      item.dataset.status = status;
      legend.append(item);
    }
    const text = `${icon(status)} ${counts[status] ?? 0} ${STATUSES[status].word}`;
    item.hidden = !counts[status];
    if (item.textContent !== text) item.textContent = text;
  }
}

// Ctrl or ⌘ with the wheel (and a pinch, which browsers report so) zooms; the bare wheel scrolls the page.
export function onZoomWheel(element, zoom) {
  element.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) / 120), event);
  }, { passive: false, capture: true });
}

// One finger sideways moves what is drawn; up and down it scrolls the page, which plotly would not let it.
export function onSlide(element, slide) {
  let last = null;
  for (const name of ["touchstart", "touchmove"]) element.addEventListener(name, (event) => event.stopPropagation(), { passive: true, capture: true });
  element.addEventListener("pointerdown", (event) => { last = event.pointerType === "touch" ? event.clientX : null; }, true);
  element.addEventListener("pointermove", (event) => {
    if (last === null || event.pointerType !== "touch" || event.clientX === last) return;
    slide(event.clientX - last);
    last = event.clientX;
  }, true);
  for (const name of ["pointerup", "pointercancel"]) element.addEventListener(name, () => { last = null; }, true);
}

// A press and release in the same place, wherever plotly's own layers are.
export function onPress(element, callback) {
  let from = null;
  element.addEventListener("pointerdown", (event) => {
    from = event.button === 0 ? [event.clientX, event.clientY] : null;
  }, true);
  window.addEventListener("pointerup", (event) => {
    if (from && Math.hypot(event.clientX - from[0], event.clientY - from[1]) < 4) {
      const box = element.getBoundingClientRect();
      callback(event.clientX - box.left, event.clientY - box.top);
    }
    from = null;
  }, true);
}
