// The palette lives in the style sheet; charts read it from there, and again when the theme changes.

const NAMES = [
  "panel", "line", "line-strong", "text", "muted", "accent", "soft",
  "pending", "running", "waiting", "paused", "completed", "failed", "cancelled",
];

// Name → "rgb(…)", as the browser computes it. A custom property itself would be given back unresolved.
export function palette(element) {
  const probe = document.createElement("span");
  probe.hidden = true;
  probe.style.forcedColorAdjust = "none"; // charts keep the palette where colours are the reader's own
  element.append(probe);
  const style = getComputedStyle(probe);
  const colours = {};
  for (const name of NAMES) {
    probe.style.color = `var(--${name})`;
    colours[name] = style.color;
  }
  colours.font = style.fontFamily;
  probe.remove();
  return colours;
}

export function faded(colour, opacity) {
  const [r, g, b] = colour.match(/[\d.]+/g);
  return `rgba(${r},${g},${b},${opacity})`;
}

export function onThemeChange(callback) {
  for (const query of ["(prefers-color-scheme: dark)", "(prefers-contrast: more)", "(forced-colors: active)"]) {
    matchMedia(query).addEventListener("change", callback);
  }
  new MutationObserver(callback).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
}
