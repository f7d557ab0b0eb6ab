// The resolved value of a colour of variables.css, for what is not drawn by CSS: colour("running").
// Ask again after the "theme:change" event of document.
const probe = document.createElement("span");
probe.hidden = true;
probe.style.forcedColorAdjust = "none"; // charts keep the palette where colours are the reader's own

export function colour(name) {
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}
