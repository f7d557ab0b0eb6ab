// The branches that ran, from left to right. Boxes where they can be read, points where there are too many.

import { BOX_HEIGHT, flagOf, hoverLines, mostUrgentBranch, openJoins, present } from "./boxes.js";
import { cellsOf } from "./cells.js";
import { isActive } from "./model.js";
import { picture, traces } from "./picture.js";
import { Tip } from "./tip.js";
import { button, checkbox, fillLegend, make, onPress, onSlide, onZoomWheel, toolRow } from "./tools.js";
import { Twin } from "./twin.js";
import { count, icon, STATUSES } from "./words.js";

const READABLE = 0.62;
const MOST_BOXES = 140;
const MARGIN = 16;
const HEIGHTS = [150, 440];
const NEWCOMER = { gap: 60, row: 46, width: 128 };

export class Graph {
  constructor(host, actions) {
    this.host = host;
    this.actions = actions;
    this.view = null;
    this.cursor = null;
    this.build();
  }

  build() {
    const { note, legend, controls } = toolRow(this.host, "branch graph");
    Object.assign(this, { note, legend });
    this.groupSwitch = checkbox(controls, "Group siblings", true, (grouped) => this.actions.group(grouped));
    this.groupSwitch.label.hidden = true;
    this.foldButton = button(controls, "Fold again", "Fold the groups that were unfolded", () => this.actions.unfold(null));
    this.foldButton.hidden = true;
    this.activeSwitch = checkbox(controls, "Active only", false, (active) => this.actions.activeOnly(active));
    this.activeSwitch.input.dataset.activeOnly = "";
    button(controls, "−", "Zoom out of the graph", () => this.zoom(1.4));
    button(controls, "+", "Zoom into the graph", () => this.zoom(1 / 1.4));
    button(controls, "Fit", "Show the whole graph", () => this.fit());
    this.plot = make("div", "graph-plot");
    this.host.append(this.plot);
    this.announcer = make("p", "chart-announcer");
    this.announcer.setAttribute("aria-live", "polite");
    this.host.append(this.announcer);
    this.twin = new Twin(this.host, "Branches as a table", ["Branch", "Status", "Steps", "After", "What"], (branch) => this.actions.select(branch, null));
    this.listen();
  }

  listen() {
    this.plot.tabIndex = 0;
    this.plot.setAttribute("role", "application");
    this.plot.setAttribute("aria-label", "Branch graph. Arrow keys move along branches, Enter selects, or unfolds a group. A table follows.");
    this.plot.addEventListener("keydown", (event) => this.key(event));
    this.plot.addEventListener("dblclick", () => this.fit(), true);
    onZoomWheel(this.plot, (factor, event) => this.zoom(factor, event));
    onPress(this.plot, (x, y) => this.press(x, y));
    onSlide(this.plot, (dx) => this.slide(dx));
    this.tip = new Tip(this.plot, (x, y) => this.wordsAt(x, y));
    this.resizing = new ResizeObserver(() => { if (this.host.clientWidth !== this.drawnWidth) this.draw(); });
    this.resizing.observe(this.host);
  }

  setLayout(graph) {
    const old = this.selectedNode;
    this.graph = graph;
    this.nodes = new Map(graph.nodes.map((node) => [node.id, node]));
    this.nodeOf = new Map(graph.nodes.flatMap((node) => (node.members ?? [node.id]).map((id) => [id, node])));
    if (graph.groups) this.groupSwitch.label.hidden = false;
    if (this.cursor && !this.nodes.has(this.cursor)) this.cursor = null;
    return old;
  }

  holdsAll(model) {
    return [...model.branches.keys()].every((id) => this.nodeOf.has(id));
  }

  take({ model, selection, colours, activeOnly }, Plotly) {
    Object.assign(this, { model, selection, colours, activeOnly, Plotly });
    for (const branch of model.branches.values()) if (!this.nodeOf.has(branch.id)) this.addNewcomer(branch);
  }

  // A branch that was opened just now stands beside its parents until the server has laid out all anew.
  addNewcomer(branch) {
    const parents = [...new Set(branch.parents.map((id) => this.nodeOf.get(id)).filter(Boolean))];
    const left = Math.max(-NEWCOMER.gap, ...parents.map((node) => node.x + node.w / 2)) + NEWCOMER.gap;
    const beside = this.graph.nodes.filter((node) => node.x + node.w / 2 > left && node.x - node.w / 2 < left + NEWCOMER.width);
    const y = beside.length ? Math.max(...beside.map((node) => node.y)) + NEWCOMER.row : parents[0]?.y ?? BOX_HEIGHT / 2;
    const node = { id: branch.id, name: branch.name, x: left + NEWCOMER.width / 2, y, w: NEWCOMER.width };
    this.graph.nodes.push(node);
    this.graph.edges.push(...parents.map((parent) => [parent.id, node.id]));
    this.graph.width = Math.max(this.graph.width, left + NEWCOMER.width);
    this.graph.height = Math.max(this.graph.height, y + BOX_HEIGHT / 2);
    this.nodes.set(node.id, node);
    this.nodeOf.set(node.id, node);
  }

  get selectedNode() {
    return this.selection && this.nodeOf?.get(this.selection.branch);
  }

  // Geometry: one unit of data is one pixel at scale 1.

  get size() {
    const { width } = this;
    const scale = Math.min(1, (width - 2 * MARGIN) / Math.max(1, this.graph.width));
    const wanted = this.graph.height * (scale < READABLE ? 1 : scale) + 2 * MARGIN + 12;
    return [width, Math.min(Math.max(wanted, HEIGHTS[0]), HEIGHTS[1])];
  }

  fitScale([width, height]) {
    return Math.min(this.fullWidth(width), (height - 2 * MARGIN) / Math.max(1, this.graph.height));
  }

  fullWidth(width) {
    return Math.min(1, (width - 2 * MARGIN) / Math.max(1, this.graph.width));
  }

  // A tall graph is not squeezed in its width as well.
  across(scale, width) {
    return Math.max(scale, this.fullWidth(width));
  }

  // { x, y (the middle), scale }; the reader's own until "Fit".
  currentView(size) {
    if (this.view) return this.view;
    const scale = this.fitScale(size);
    const middle = { x: this.graph.width / 2, y: this.graph.height / 2, scale };
    if (scale >= READABLE || this.whole || this.graph.nodes.length > 300) return middle;
    return this.closeUp(size);
  }

  // Too large to be read as a whole: begin where work is going on.
  closeUp([width, height]) {
    const scale = 0.85;
    const active = this.graph.nodes.find((node) => present(node, this.model).branches.some(isActive)) ?? this.graph.nodes[0];
    const inside = (at, visible, all) => (all < visible ? all / 2 : Math.min(Math.max(at, visible / 2 - MARGIN), all - visible / 2 + MARGIN));
    return { x: inside(active.x, width / scale, this.graph.width), y: inside(active.y, height / scale, this.graph.height), scale };
  }

  draw() {
    this.width = this.drawnWidth = this.host.clientWidth;
    if (!this.Plotly || !this.graph || !this.width) return;
    const size = this.size;
    const view = this.currentView(size);
    this.drawn = view;
    const [halfWidth, halfHeight] = [size[0] / 2 / this.across(view.scale, size[0]), size[1] / 2 / view.scale];
    this.box = { x0: view.x - halfWidth, x1: view.x + halfWidth, y0: view.y - halfHeight, y1: view.y + halfHeight };
    this.shown = new Map(this.graph.nodes.map((node) => [node.id, present(node, this.model)]));
    this.boxed = this.boxesInSight(view.scale);
    this.cells = cellsOf(this.boxed.length ? this.boxed : this.graph.nodes, this.shown, this.boxed.length ? 0 : view.scale);
    this.extent = size;
    const { data, layout } = picture(this);
    this.Plotly.react(this.plot, data, layout, { displayModeBar: false, scrollZoom: false, doubleClick: false, responsive: false });
    this.followPan();
    this.drawWords();
  }

  followPan() {
    if (this.following) return;
    this.following = true;
    this.plot.on("plotly_relayout", (change) => {
      if (change["xaxis.range[0]"] === undefined && change["yaxis.range[0]"] === undefined) return;
      const { xaxis, yaxis } = this.plot.layout;
      this.view = { x: (xaxis.range[0] + xaxis.range[1]) / 2, y: (yaxis.range[0] + yaxis.range[1]) / 2, scale: this.drawn.scale };
      this.draw();
    });
  }

  boxesInSight(scale) {
    if (scale < READABLE) return [];
    const { x0, x1, y0, y1 } = this.box;
    const inSight = this.graph.nodes.filter((node) => node.x + node.w > x0 && node.x - node.w < x1 && node.y + BOX_HEIGHT > y0 && node.y - BOX_HEIGHT < y1);
    return inSight.length <= MOST_BOXES ? inSight : [];
  }

  isDimmed(shown) {
    return this.activeOnly && !shown.branches.some(isActive);
  }

  get sideways() {
    return this.across(this.drawn.scale, this.width);
  }

  drawWords() {
    const counts = {};
    for (const branch of this.model.branches.values()) counts[branch.status] = (counts[branch.status] ?? 0) + 1;
    fillLegend(this.legend, counts);
    this.note.textContent = openJoins(this.model) || this.summary();
    this.twin.show(() => this.tableRows(), "branches");
  }

  summary() {
    const { nodes } = this.graph;
    if (!nodes.length) return "No branch has been opened yet";
    const branches = count(this.model.branches.size, "branch");
    if (!this.boxed.length) return `${branches} as points · zoom in to read them`;
    if (this.boxed.length < nodes.length) return `${branches} · ${this.boxed.length} of ${count(nodes.length, "box")} in sight, drag to move`;
    return this.graph.groups ? `${branches} in ${count(nodes.length, "box")}, click a group to unfold it` : branches;
  }

  tableRows() {
    const branches = [...this.model.branches.values()].filter((branch) => !this.activeOnly || isActive(branch));
    return branches.map((branch) => ({
      id: branch.id,
      texts: [branch.name, `${icon(branch.status)} ${STATUSES[branch.status]?.word ?? branch.status}`, String(branch.steps.size),
        branch.parents.slice(0, 5).map((id) => this.model.branches.get(id)?.name ?? id).join(", ") + (branch.parents.length > 5 ? ` and ${branch.parents.length - 5} more` : "") || "—",
        present({ id: branch.id }, this.model).detail + (this.model.flags?.has(branch.id) ? ` · ⚠ ${this.model.flags.get(branch.id)}` : "")],
    }));
  }

  tick() {
    if (!this.boxed?.length) return;
    const shown = new Map(this.boxed.map((node) => [node.id, present(node, this.model)]));
    // Icon, word and colour change together.
    if (this.boxed.some(({ id }) => shown.get(id).status !== this.shown.get(id)?.status)) return void this.draw();
    this.shown = new Map([...this.shown, ...shown]);
    const fresh = traces(this).map(({ text }) => text);
    if (fresh.some((texts, i) => texts.some((text, j) => text !== this.plot.data[i].text[j]))) this.Plotly.restyle(this.plot, { text: fresh }, [0, 1]);
    const note = openJoins(this.model);
    if (note) this.note.textContent = note;
  }

  // Moving about

  zoom(factor, event = null) {
    const { x, y, scale } = this.drawn;
    const next = Math.min(2, Math.max(scale / factor, Math.min(0.5, this.fitScale(this.size)) / 2));
    const at = event ? this.toData(event) : { x, y };
    const { width } = this;
    const [sideways, upright] = [this.across(scale, width) / this.across(next, width), scale / next];
    this.view = { x: at.x + (x - at.x) * sideways, y: at.y + (y - at.y) * upright, scale: next };
    this.draw();
  }

  toData(event) {
    const box = this.plot.getBoundingClientRect();
    return this.dataAt(event.clientX - box.left, event.clientY - box.top);
  }

  dataAt(x, y) {
    return { x: this.box.x0 + x / this.sideways, y: this.box.y0 + y / this.drawn.scale };
  }

  slide(dx) {
    if (!this.drawn) return;
    this.view = { ...this.drawn, x: this.drawn.x - dx / this.sideways };
    this.draw();
  }

  // What is selected in the middle, or where work is going on.
  centre() {
    const node = this.selectedNode ?? this.graph?.nodes.find((one) => present(one, this.model).branches.some(isActive));
    if (!node || !this.drawn) return;
    this.view = { ...this.drawn, x: node.x, y: node.y };
    this.draw();
  }

  fit() {
    this.view = null;
    this.whole = true;
    this.draw();
  }

  press(x, y) {
    if (!this.box) return;
    const node = this.boxAt(x, y);
    if (node) return this.enter(node);
    const found = this.boxed.length ? null : this.nearest(this.dataAt(x, y));
    if (found) this.choose(found);
  }

  boxAt(x, y) {
    const at = this.dataAt(x, y);
    return this.boxed.find((one) => Math.abs(one.x - at.x) <= one.w / 2 && Math.abs(one.y - at.y) <= BOX_HEIGHT / 2);
  }

  // Of what is under the pointer.
  wordsAt(x, y) {
    if (!this.box) return null;
    const node = this.boxAt(x, y);
    const shown = node ? this.shown.get(node.id) : this.boxed.length ? null : this.nearest(this.dataAt(x, y));
    return shown && hoverLines(shown, flagOf(shown, this.model));
  }

  nearest(at) {
    const distance = (cell) => Math.hypot((cell.x - at.x) * this.sideways, (cell.y - at.y) * this.drawn.scale);
    const best = this.cells.all.reduce((near, cell) => (!near || distance(cell) < distance(near) ? cell : near), null);
    return best && distance(best) < 12 ? best : null;
  }

  // A group unfolds; a branch is selected.
  enter(node) {
    if (node.members?.length > 1) return this.actions.unfold(node.id);
    this.choose(this.shown.get(node.id));
  }

  choose(shown) {
    this.cursor = null;
    const branch = mostUrgentBranch(shown.branches);
    if (branch) this.actions.select(branch.id, null);
  }

  key(event) {
    const move = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (move) this.moveCursor(...move);
    else if (event.key === "Enter" && this.cursor) this.enter(this.nodes.get(this.cursor));
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  moveCursor(right, down) {
    const from = this.nodes.get(this.cursor) ?? this.selectedNode;
    const to = from ? this.neighbour(from, right, down) : this.graph.nodes[0];
    if (!to) return;
    this.cursor = to.id;
    const { title, status, detail } = this.shown.get(to.id);
    this.announcer.textContent = `${title}, ${STATUSES[status].word}, ${detail}`;
    this.bringIntoSight(to);
    this.draw();
  }

  // Along an edge where there is one, else the nearest in that direction.
  neighbour(from, right, down) {
    const [end, start] = right > 0 ? [1, 0] : [0, 1];
    const linked = right ? this.graph.edges.filter((edge) => edge[start] === from.id).map((edge) => this.nodes.get(edge[end])) : [];
    const others = linked.length ? linked : this.graph.nodes.filter((node) => (right ? false : node.x === from.x && (node.y - from.y) * down > 0));
    return others.reduce((best, node) => (!best || Math.abs(node.y - from.y) < Math.abs(best.y - from.y) ? node : best), null);
  }

  bringIntoSight(node) {
    const { x0, x1, y0, y1 } = this.box;
    const inside = node.x - node.w / 2 > x0 && node.x + node.w / 2 < x1 && node.y - 20 > y0 && node.y + 20 < y1;
    if (!inside) this.view = { ...this.drawn, x: node.x, y: node.y };
  }
}
