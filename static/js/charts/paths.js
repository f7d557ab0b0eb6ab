// Paths in the data's own units, as plotly's shapes take them. However many boxes, lines, bars or points of a
// kind there are, together they are one element of the page.

const n = (value) => Math.round(value * 1000) / 1000;
const at = (...values) => values.map(n).join(",");

// `rx`, `ry`: how far the corners are rounded sideways and upright.
export function box(l, t, r, b, rx = 0, ry = 0) {
  if (!rx) return `M${at(l, t)} L${at(r, t)} L${at(r, b)} L${at(l, b)} Z`;
  return `M${at(l + rx, t)} L${at(r - rx, t)} Q${at(r, t, r, t + ry)} L${at(r, b - ry)} Q${at(r, b, r - rx, b)} `
    + `L${at(l + rx, b)} Q${at(l, b, l, b - ry)} L${at(l, t + ry)} Q${at(l, t, l + rx, t)} Z`;
}

export const line = (x0, y0, x1, y1) => `M${at(x0, y0)} L${at(x1, y1)}`;

// It leaves and arrives level.
export function curve(x0, y0, x1, y1, bend) {
  const reach = Math.min(bend, (x1 - x0) / 2);
  return y0 === y1 ? line(x0, y0, x1, y1) : `M${at(x0, y0)} C${at(x0 + reach, y0, x1 - reach, y1, x1, y1)}`;
}

function circle(x, y, rx, ry) {
  const [kx, ky] = [rx * 0.5523, ry * 0.5523];
  return `M${at(x - rx, y)} C${at(x - rx, y - ky, x - kx, y - ry, x, y - ry)} C${at(x + kx, y - ry, x + rx, y - ky, x + rx, y)} `
    + `C${at(x + rx, y + ky, x + kx, y + ry, x, y + ry)} C${at(x - kx, y + ry, x - rx, y + ky, x - rx, y)} Z`;
}

const square = (x, y, rx, ry) => box(x - rx, y - ry, x + rx, y + ry);
const diamond = (x, y, rx, ry) => `M${at(x, y - 1.3 * ry)} L${at(x + 1.3 * rx, y)} L${at(x, y + 1.3 * ry)} L${at(x - 1.3 * rx, y)} Z`;
const cross = (x, y, rx, ry) => `${line(x - rx, y - ry, x + rx, y + ry)} ${line(x - rx, y + ry, x + rx, y - ry)}`;
const crossed = (x, y, rx, ry) => `${circle(x, y, rx, ry)} ${cross(x, y, 0.7 * rx, 0.7 * ry)}`;

// What a point looks like: told apart by form besides colour. The last are drawn on top.
export const SIGNS = {
  pending: { draw: circle },
  cancelled: { draw: crossed },
  completed: { draw: circle, filled: true },
  paused: { draw: square, filled: true },
  running: { draw: circle, filled: true },
  waiting: { draw: diamond, filled: true },
  failed: { draw: cross, width: 2.5 },
};

export const NOTHING = "rgba(0,0,0,0)";
