// What plotly is given of the graph: one shape for all edges of a kind, one for all boxes or points of a look,
// and one trace for all titles. `view` is the graph as it stands.

import { BOX_HEIGHT, boxWords, flagOf, isWalked } from "./boxes.js";
import { faded } from "./colours.js";
import { box, curve, line, NOTHING, SIGNS } from "./paths.js";

const MANY_EDGES = 40;
const BEND = 60;
const CORNER = 8;

export function picture(view) {
  return { data: traces(view), layout: layout(view) };
}

// Titles, and what stands under them.
export function traces(view) {
  const { figure } = view.graph;
  const { scale } = view.drawn;
  const sizes = { title: Math.min(13, Math.max(9.5, 11.5 * scale)), detail: Math.min(12, 11 * scale) };
  const given = { scale, sideways: view.sideways, sizes, from: view.box.x0 };
  const words = view.boxed.map((node) => boxWords(node, view.shown.get(node.id), { ...given, flag: flagOf(view.shown.get(node.id), view.model) }));
  const columns = [
    [words.map(({ title }) => title), "text", sizes.title, 0.45],
    [words.map(({ detail }) => detail), "muted", sizes.detail, 0.45],
  ];
  return columns.map(([places, colour, size, dim], i) => textTrace(figure.data[i], places.filter(Boolean), view, { colour, size, dim }));
}

function textTrace(trace, places, view, { colour, size, dim }) {
  const full = view.colours[colour];
  return {
    ...trace,
    visible: places.length > 0,
    x: places.map(({ x }) => x),
    y: places.map(({ y }) => y),
    text: places.map(({ text }) => text),
    textfont: { ...trace.textfont, size, family: view.colours.font, color: places.map(({ id }) => (isDimmed(view, view.shown.get(id)) ? faded(full, dim) : full)) },
  };
}

const isDimmed = (view, shown) => view.isDimmed(shown);

function layout(view) {
  const base = view.graph.figure.layout;
  const { x0, x1, y0, y1 } = view.box;
  const [width, height] = view.extent;
  return {
    ...base, width, height,
    xaxis: { ...base.xaxis, range: [x0, x1], autorange: false },
    yaxis: { ...base.yaxis, range: [y1, y0] },
    shapes: [...edges(view), ...(view.boxed.length ? boxes(view) : points(view)), ...rings(view)],
  };
}

// Those already gone along, and those still ahead. Edges far out of sight are left away.
function edges(view) {
  const paths = { walked: [], ahead: [] };
  const isBoxed = view.boxed.length > 0;
  const seen = new Set();
  for (const [source, target] of view.graph.edges) {
    const [from, to] = endsOf(view, source, target);
    const kind = isWalked(view.shown.get(source), view.shown.get(target)) ? "walked" : "ahead";
    const key = `${from.key} ${to.key} ${kind}`;
    if (seen.has(key) || !isNear(view, from, to)) continue;
    seen.add(key);
    const [x0, x1] = [from.x + from.w / 2, to.x - to.w / 2];
    paths[kind].push(isBoxed ? curve(x0, from.y, x1, to.y, BEND) : line(x0, from.y, x1, to.y));
  }
  const width = isBoxed ? (view.graph.edges.length > MANY_EDGES ? 1.25 : 2) : 1;
  return Object.entries(paths).filter(([, path]) => path.length).map(([name, path]) => ({
    ...below(name), path: path.join(" "), fillcolor: NOTHING, opacity: isBoxed ? 1 : 0.6,
    line: { width, color: view.colours["line-strong"], dash: name === "ahead" ? "4px,4px" : "solid" },
  }));
}

const below = (name) => ({ type: "path", layer: "below", name });

function endsOf(view, source, target) {
  if (!view.boxed.length) return [view.cells.of.get(source), view.cells.of.get(target)];
  return [source, target].map((id) => ({ ...view.nodes.get(id), key: id }));
}

function isNear({ box: { x0, x1, y0, y1 } }, from, to) {
  const [sideways, upright] = [x1 - x0, y1 - y0];
  return Math.max(from.x, to.x) > x0 - sideways && Math.min(from.x, to.x) < x1 + sideways
    && Math.max(from.y, to.y) > y0 - upright && Math.min(from.y, to.y) < y1 + upright;
}

// Boxes that look alike are one shape.
function boxes(view) {
  const looks = new Map();
  for (const node of view.boxed) {
    const shown = view.shown.get(node.id);
    const look = { status: shown.status, dimmed: isDimmed(view, shown), selected: node === view.selectedNode };
    const key = Object.values(look).join();
    if (!looks.has(key)) looks.set(key, { ...look, paths: [] });
    looks.get(key).paths.push(box(node.x - node.w / 2, node.y - BOX_HEIGHT / 2, node.x + node.w / 2, node.y + BOX_HEIGHT / 2, CORNER, CORNER));
  }
  return [...looks.values()].map(({ status, dimmed, selected, paths }) => ({
    ...below(status), path: paths.join(" "), fillrule: "nonzero", opacity: dimmed ? 0.4 : 1,
    fillcolor: selected ? view.colours.soft : view.colours.panel,
    line: { color: view.colours[status], width: selected ? 2.5 : 1.5, dash: status === "pending" ? "dot" : "solid" },
  }));
}

// For what is too small to be a box.
function points(view) {
  const half = Math.min(12, Math.max(5, 30 * view.drawn.scale)) / 2;
  const [rx, ry] = [half / view.sideways, half / view.drawn.scale];
  const paths = Object.fromEntries(Object.keys(SIGNS).map((status) => [status, []]));
  for (const cell of view.cells.all) if (!isDimmed(view, cell)) paths[cell.status].push(SIGNS[cell.status].draw(cell.x, cell.y, rx, ry));
  return Object.entries(paths).filter(([, path]) => path.length).map(([status, path]) => ({
    ...below(status), path: path.join(" "), fillrule: "nonzero", fillcolor: SIGNS[status].filled ? view.colours[status] : NOTHING,
    line: { width: SIGNS[status].width ?? 1, color: view.colours[status] },
  }));
}

// Around the place of the arrow keys, and around a selected point.
function rings(view) {
  const isBoxed = view.boxed.length > 0;
  const wanted = [[view.nodes.get(view.cursor), "dot"], ...(isBoxed ? [] : [[view.selectedNode, "solid"]])];
  return wanted.filter(([node]) => node).map(([node, dash]) => {
    const [w, h] = isBoxed ? [node.w / 2 + 4, BOX_HEIGHT / 2 + 4] : [9 / view.sideways, 9 / view.drawn.scale];
    return { type: "rect", x0: node.x - w, x1: node.x + w, y0: node.y - h, y1: node.y + h, line: { width: 2, dash, color: view.colours.accent } };
  });
}
