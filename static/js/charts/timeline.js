// Branches as lanes, steps as bars, pauses as bands, checkpoints as marks. Only lanes in sight are drawn.

import { clock, stamp } from "../clock.js";
import { barsInSight, failedSigns, stepLines } from "./bars.js";
import { LaneNames } from "./lanes.js";
import { markLines, marksInSight, shapesOf, wordsOf } from "./marks.js";
import { isActive, isHeld, isRunning, look, openEnd, runningStep, stepEnd, stepTimes } from "./model.js";
import { makeScale } from "./scale.js";
import { Tip } from "./tip.js";
import { button, checkbox, fillLegend, make, onPress, onSlide, onZoomWheel, toolRow } from "./tools.js";
import { Twin } from "./twin.js";
import { clip, count, duration, icon, STATUSES } from "./words.js";

const LANE = 28;
const STRIPS = { checkpoints: 30, none: 8 };
const MARGIN = { t: 22, r: 18, b: 26 };
const MOST_ROWS = 12;
const OVERSCAN = 2;
const SEEN = 0.5; // pixels

export class Timeline {
  constructor(host, actions) {
    this.host = host;
    this.actions = actions;
    this.zoomed = null;
    this.cursor = null;
    this.build();
  }

  build() {
    const { note, legend, controls } = toolRow(this.host, "timeline");
    Object.assign(this, { note, legend });
    this.foldSwitch = checkbox(controls, "Fold idle gaps", true, () => this.draw());
    button(controls, "−", "Zoom out of the timeline", () => this.zoom(1.6));
    button(controls, "+", "Zoom into the timeline", () => this.zoom(1 / 1.6));
    button(controls, "Fit", "Show the whole timeline", () => this.fit());
    this.scroll = make("div", "timeline-scroll");
    this.space = make("div", "timeline-space");
    this.plot = make("div", "timeline-plot");
    this.names = new LaneNames(this.plot, { top: MARGIN.t, lane: LANE });
    this.space.append(this.plot);
    this.scroll.append(this.space);
    this.host.append(this.scroll);
    this.announcer = make("p", "chart-announcer");
    this.announcer.setAttribute("aria-live", "polite");
    this.host.append(this.announcer);
    this.twin = new Twin(this.host, "Timeline as a table", ["Branch", "Status", "Began", "Lasted", "Steps", "Failed", "Now at work"],
      (branch) => this.actions.select(branch, null));
    this.listen();
  }

  listen() {
    this.scroll.tabIndex = 0;
    this.scroll.setAttribute("role", "application");
    this.scroll.setAttribute("aria-label",
      "Timeline of branches. Up and down: branch. Left and right: step. Enter: select. [ and ]: checkpoint. A table follows.");
    this.scroll.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.scroll.addEventListener("keydown", (event) => this.key(event));
    onZoomWheel(this.scroll, (factor, event) => this.zoom(factor, event.clientX - this.plot.getBoundingClientRect().left));
    onPress(this.plot, (x, y) => this.press(x, y));
    onSlide(this.plot, (dx) => this.slide(dx));
    this.tip = new Tip(this.plot, (x, y) => this.wordsAt(x, y));
    this.plot.addEventListener("dblclick", () => this.fit(), true);
    this.resizing = new ResizeObserver(() => { if (this.host.clientWidth !== this.drawnWidth) this.draw(); });
    this.resizing.observe(this.host);
  }

  // What to draw; `figure` is the skeleton that the server made.
  take({ model, figure, selection, colours, activeOnly }, Plotly) {
    Object.assign(this, { model, figure, selection, colours, activeOnly, Plotly });
  }

  draw() {
    this.drawnWidth = this.host.clientWidth;
    if (!this.Plotly || !this.drawnWidth) return;
    this.lanes = [...this.model.branches.values()].filter((branch) => !this.activeOnly || isActive(branch));
    this.rows = Math.min(Math.max(this.lanes.length, 1), MOST_ROWS);
    this.measure();
    this.scale = this.makeScale();
    this.space.style.height = `${this.height + Math.max(0, this.lanes.length - this.rows) * LANE}px`;
    this.scroll.style.height = `${this.height}px`;
    this.beginWhereWorkIs();
    this.drawPlot();
    this.drawWords();
  }

  beginWhereWorkIs() {
    if (this.begun || this.lanes.length <= this.rows) return;
    this.begun = true;
    if (isRunning(this.model)) this.scroll.scrollTop = (this.lanes.findIndex(isActive) - 2) * LANE;
  }

  get height() {
    return MARGIN.t + this.rows * LANE + this.strip + MARGIN.b;
  }

  get strip() {
    return this.model.checkpoints.length ? STRIPS.checkpoints : STRIPS.none;
  }

  // Asked of the page once per drawing: each question costs it a layout.
  measure() {
    this.width = this.drawnWidth;
    this.labelLength = this.width < 520 ? 12 : 22;
    const longest = this.lanes.reduce((most, branch) => Math.max(most, branch.name.length), 6);
    this.left = 34 + Math.min(longest, this.labelLength) * 6.4;
  }

  makeScale() {
    const { model } = this;
    const { starts, ends } = stepTimes(model);
    let [first, last] = [Infinity, -Infinity];
    for (const { opened } of model.branches.values()) if (opened) first = Math.min(first, opened);
    for (let i = 0; i < starts.length; i += 1) {
      first = Math.min(first, starts[i]);
      last = Math.max(last, ends[i]);
    }
    if (first === Infinity) [first, last] = [openEnd(model), openEnd(model)];
    for (const { at } of model.checkpoints) last = Math.max(last, at);
    if (isRunning(model)) last = Math.max(last, openEnd(model));
    this.end = last;
    return makeScale(starts, ends, first, last, this.foldSwitch.input.checked);
  }

  get range() {
    if (this.zoomed) return this.zoomed.map((at) => this.scale.to(at));
    const room = this.scale.length;
    return [-room * 0.01, room * 1.02];
  }

  get sight() {
    const top = this.scroll.scrollTop / LANE;
    const range = this.range;
    const width = Math.max(60, this.width - this.left - MARGIN.r);
    return {
      top,
      first: Math.max(0, Math.floor(top) - OVERSCAN),
      last: Math.min(this.lanes.length - 1, Math.ceil(top + this.rows) + OVERSCAN),
      range,
      width,
      pixels: width / (range[1] - range[0]),
    };
  }

  get lane() {
    return LANE;
  }

  drawPlot() {
    const { sight } = this;
    this.drawn = sight;
    this.drawnAt = openEnd(this.model);
    this.bars = barsInSight(this.lanes, this.model, this.scale, sight);
    this.Plotly.react(this.plot, this.traces(sight), this.layout(sight), { displayModeBar: false, scrollZoom: false, doubleClick: false, responsive: false });
    this.names.show(this, sight);
    this.followZoom();
  }

  traces(sight) {
    const [signs, marks] = this.figure.data;
    const failed = failedSigns(this.bars, sight);
    const shown = marksInSight(this, sight);
    return [
      { ...signs, ...failed, visible: failed.x.length > 0, textfont: { ...signs.textfont, color: this.colours.panel } },
      {
        ...marks,
        x: shown.map(({ x }) => x),
        y: shown.map(() => 0),
        marker: {
          ...marks.marker, color: this.colours.accent, size: shown.map(({ isPicked }) => (isPicked ? 15 : 11)),
          line: { color: this.colours.text, width: shown.map(({ isPicked }) => (isPicked ? 2 : 0)) },
        },
      },
    ];
  }

  followZoom() {
    if (this.following) return;
    this.following = true;
    this.plot.on("plotly_relayout", (change) => {
      if (change["xaxis.range[0]"] === undefined || this.own) return;
      this.zoomed = [change["xaxis.range[0]"], change["xaxis.range[1]"]].map((u) => this.scale.from(u));
      this.drawPlot();
    });
  }

  layout(sight) {
    const base = this.figure.layout;
    const inner = this.rows * LANE + this.strip;
    const ticks = this.scale.ticks(sight.range, sight.width);
    const muted = { color: this.colours.muted, size: 11, family: this.colours.font };
    return {
      ...base,
      width: this.width, height: this.height,
      margin: { ...MARGIN, l: this.left, pad: 0 },
      font: muted,
      xaxis: { ...base.xaxis, range: sight.range, autorange: false, tickvals: ticks.values, ticktext: ticks.texts, tickfont: muted, ticklabelstandoff: 2 },
      yaxis: {
        ...base.yaxis, domain: [this.strip / inner, 1], range: [sight.top + this.rows - 0.5, sight.top - 0.5],
        showticklabels: false,
      },
      yaxis2: { ...base.yaxis2, domain: [0, this.strip / inner] },
      shapes: shapesOf(this, sight),
      annotations: wordsOf(this, sight),
    };
  }

  drawWords() {
    const counts = {};
    for (const branch of this.model.branches.values()) {
      for (const step of branch.steps.values()) {
        const shown = look(step, branch, this.model);
        counts[shown] = (counts[shown] ?? 0) + 1;
      }
    }
    this.foldSwitch.label.hidden = !this.scale.foldable;
    fillLegend(this.legend, counts);
    const [shown, all] = [this.lanes.length, this.model.branches.size];
    const held = isHeld(this.model) ? `❚❚ ${whyHeld(this.model.pauses.at(-1))} · ` : "";
    this.note.textContent = `${held}${shown === all ? count(all, "branch") : `${shown} of ${count(all, "branch")}`}${this.model.checkpoints.length ? ` · ◆ ${count(this.model.checkpoints.length, "checkpoint")}` : ""}`;
    this.twin.show(() => this.lanes.map((branch) => this.tableRow(branch)), "branches");
  }

  tableRow(branch) {
    const steps = [...branch.steps.values()];
    const lasted = (branch.ended ?? openEnd(this.model)) - branch.opened;
    return {
      id: branch.id,
      texts: [branch.name, `${icon(branch.status)} ${STATUSES[branch.status]?.word ?? branch.status}`, stamp(branch.opened), duration(lasted),
        String(steps.length), String(steps.filter((step) => step.status === "failed").length), runningStep(branch)?.agent ?? "—"],
    };
  }

  // The clock moved: bars that run grow, and the line of now with them, where that is to be seen.
  tick() {
    if (!isRunning(this.model) || !this.drawn) return;
    const moved = ((openEnd(this.model) - this.drawnAt) / 1000) * this.drawn.pixels;
    if (moved >= SEEN) this.draw();
  }

  // Moving about

  scrolled() {
    if (!this.drawn) return;
    const { top, first, last } = this.sight;
    const redraw = Math.floor(top) < this.drawn.first || Math.min(this.lanes.length - 1, Math.ceil(top + this.rows)) > this.drawn.last;
    if (redraw || last < first) {
      this.drawPlot();
      return;
    }
    this.own = true;
    this.Plotly.relayout(this.plot, { "yaxis.range": [top + this.rows - 0.5, top - 0.5] });
    this.own = false;
    this.names.scroll(top);
  }

  zoom(factor, x = null) {
    const { range, width } = this.sight;
    const centre = x === null ? (range[0] + range[1]) / 2 : range[0] + ((x - this.left) / width) * (range[1] - range[0]);
    const wanted = range.map((u) => centre + (u - centre) * factor);
    if (wanted[1] - wanted[0] < 0.002) return;
    this.zoomed = wanted.map((u) => this.scale.from(u));
    this.drawPlot();
  }

  slide(dx) {
    if (!this.drawn) return;
    const { range, pixels } = this.sight;
    this.zoomed = range.map((u) => this.scale.from(u - dx / pixels));
    this.drawPlot();
  }

  // What is selected in the middle, as far as one has zoomed in.
  centre() {
    const branch = this.model?.branches.get(this.selection.branch);
    if (!branch || !this.drawn) return;
    this.revealBranch(branch.id);
    if (!this.zoomed) return;
    const step = branch.steps.get(this.selection.step);
    const [from, to] = step ? [step.start, stepEnd(step, this.model)] : [branch.opened, branch.ended ?? openEnd(this.model)];
    const middle = (this.scale.to(from) + this.scale.to(to)) / 2;
    const half = (this.range[1] - this.range[0]) / 2;
    this.zoomed = [middle - half, middle + half].map((u) => this.scale.from(u));
    this.drawPlot();
  }

  fit() {
    this.zoomed = null;
    this.draw();
  }

  press(x, y) {
    const { branch, step, mark } = this.under(x, y);
    this.cursor = null;
    if (mark) this.actions.pick(mark.id);
    else if (branch) this.actions.select(branch.id, step?.id ?? null);
  }

  // What is at a place of the plot: a checkpoint, or a branch and perhaps a step of it.
  under(x, y) {
    const { top, range, pixels } = this.sight;
    const u = range[0] + (x - this.left) / pixels;
    if (y > MARGIN.t + this.rows * LANE) return { mark: this.markAt(u, pixels) };
    const branch = y < MARGIN.t ? undefined : this.lanes[Math.floor(top + (y - MARGIN.t) / LANE)];
    return { branch, step: branch && this.stepAt(branch, u, pixels) };
  }

  wordsAt(x, y) {
    if (!this.drawn) return null;
    const { branch, step, mark } = this.under(x, y);
    if (mark) return markLines(mark);
    if (step) return stepLines(step, branch, this.model);
    return branch && x < this.left ? [clip(branch.name)] : null;
  }

  stepAt(branch, u, pixels) {
    let found = null;
    for (const step of branch.steps.values()) {
      const from = this.scale.to(step.start) - 2 / pixels;
      if (u >= from && u <= this.scale.to(stepEnd(step, this.model)) + 2 / pixels) found = step;
    }
    return found;
  }

  markAt(u, pixels) {
    const distance = (place) => Math.abs(this.scale.to(place.at) - u) * pixels;
    const near = this.model.checkpoints.reduce((best, place) => (!best || distance(place) < distance(best) ? place : best), null);
    return near && distance(near) < 12 ? near : null;
  }

  key(event) {
    const move = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (move) this.moveCursor(...move);
    else if (event.key === "Enter" && this.cursor) this.enter();
    else if ((event.key === "[" || event.key === "]") && !document.getElementById("travel")) this.nextMark(event.key === "]" ? 1 : -1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  moveCursor(rows, steps) {
    const selected = Math.max(0, this.lanes.findIndex((branch) => branch.id === this.selection.branch));
    const old = this.cursor ?? { row: selected - (rows > 0 ? 1 : 0), step: -1 };
    const row = Math.min(Math.max(old.row + rows, 0), this.lanes.length - 1);
    const branch = this.lanes[row];
    if (!branch) return;
    const step = rows ? -1 : Math.min(Math.max(old.step + steps, -1), branch.steps.size - 1);
    this.cursor = { row, step };
    this.reveal(row);
    this.drawPlot();
    this.announce(branch, [...branch.steps.values()][step]);
  }

  announce(branch, step) {
    const what = step ? `, step ${step.id}, ${step.agent}, ${STATUSES[step.status].word}, ${duration(stepEnd(step, this.model) - step.start)}` : `, ${count(branch.steps.size, "step")}`;
    this.announcer.textContent = `${branch.name}, ${branch.status}${what}`;
  }

  enter() {
    const branch = this.lanes[this.cursor.row];
    if (branch) this.actions.select(branch.id, [...branch.steps.values()][this.cursor.step]?.id ?? null);
  }

  nextMark(direction) {
    const { checkpoints } = this.model;
    const at = checkpoints.findIndex((place) => place.id === this.selection.checkpoint);
    const next = at < 0 ? (direction > 0 ? 0 : checkpoints.length - 1) : at + direction;
    const place = checkpoints[Math.min(Math.max(next, 0), checkpoints.length - 1)];
    if (!place) return;
    this.announcer.textContent = `Checkpoint ${place.name}`;
    this.actions.pick(place.id);
  }

  reveal(row) {
    const top = this.scroll.scrollTop / LANE;
    if (row < top) this.scroll.scrollTop = row * LANE;
    else if (row > top + this.rows - 1) this.scroll.scrollTop = (row - this.rows + 1) * LANE;
  }

  revealBranch(id) {
    const row = this.lanes?.findIndex((branch) => branch.id === id) ?? -1;
    if (row >= 0) this.reveal(row);
  }
}

// What was restored or forked is paused there.
function whyHeld({ why, start }) {
  return `${why === "interrupted" ? why : "paused"} since ${clock(start)}`;
}
