// Points that would lie on one another are drawn as one, and so are their edges: however large the graph is,
// there are no more of them than there is room for.

import { mostUrgent, tally } from "./boxes.js";

const CELL = 5;

// `scale`: pixels per unit upright; 0 keeps every node by itself. Returns { all, of: node id → cell }.
export function cellsOf(nodes, shown, scale) {
  const cells = new Map();
  const of = new Map();
  for (const node of nodes) {
    const key = scale ? `${node.x} ${Math.floor((node.y * scale) / CELL)}` : node.id;
    const cell = cells.get(key) ?? { key, x: node.x, y: node.y, w: 0, nodes: [], branches: [] };
    cells.set(key, cell);
    cell.nodes.push(node);
    cell.branches.push(...shown.get(node.id).branches);
    of.set(node.id, cell);
  }
  for (const cell of cells.values()) describe(cell, shown);
  return { all: [...cells.values()], of };
}

function describe(cell, shown) {
  if (cell.nodes.length === 1) {
    const { status, title, detail } = shown.get(cell.nodes[0].id);
    Object.assign(cell, { status, title, detail });
    return;
  }
  Object.assign(cell, { status: mostUrgent(cell.branches), title: `${cell.branches.length} branches`, detail: tally(cell.branches) });
}
