// Which bars there are to draw: those in sight, and no more of them than there are pixels. All bars of a status
// are one path.

import { clock } from "../clock.js";
import { look, openEnd, stepEnd } from "./model.js";
import { box, NOTHING } from "./paths.js";
import { clip, duration, icon, STATUSES } from "./words.js";

const THIN = 2;
const MOST_BARS = 400;
const HALF = 0.25; // of a lane
const LIFE = 0.035;
const CORNER = 3; // pixels
const ROUNDED_FROM = 7;
const SIGNED_FROM = 14;
// Those drawn last lie on top.
const ORDER = ["completed", "failed", "running", "waiting", "paused"];

// `view`: the timeline as it stands; `sight`: { first, last (lanes), range (u), pixels (per u) }.
export function barShapes(view, sight) {
  const paths = Object.fromEntries(ORDER.map((status) => [status, []]));
  for (const { status, from, to, row } of view.bars) paths[status].push(barPath(from, to, row, sight, view.lane));
  return [lives(view, sight), ...ORDER.filter((status) => paths[status].length).map((status) => filled(status, paths[status], view.colours[status]))];
}

const filled = (name, paths, fillcolor) => ({
  type: "path", layer: "below", name, path: paths.join(" ") || "M0,0 Z", fillrule: "nonzero", fillcolor, line: { width: 0, color: NOTHING },
});

function barPath(from, to, row, sight, lane) {
  const end = (to - from) * sight.pixels > 6 ? to - 1 / sight.pixels : to;
  const isRounded = (end - from) * sight.pixels >= ROUNDED_FROM;
  return box(from, row - HALF, end, row + HALF, isRounded ? CORNER / sight.pixels : 0, CORNER / lane);
}

// From a branch's opening to its end: so one that waits is seen to wait.
function lives(view, sight) {
  const paths = [];
  for (let row = sight.first; row <= sight.last; row += 1) {
    const branch = view.lanes[row];
    const from = view.scale.to(branch.opened);
    paths.push(box(from, row - LIFE, Math.max(from, view.scale.to(branch.ended ?? Math.max(branch.opened, openEnd(view.model)))), row + LIFE));
  }
  return filled("branches", paths, view.colours["line-strong"]);
}

// What failed says so besides by its colour, where there is room.
export function failedSigns(bars, sight) {
  const signed = bars.filter(({ status, from, to }) => status === "failed" && (to - from) * sight.pixels > SIGNED_FROM);
  return { x: signed.map(({ from, to }) => (from + to) / 2), y: signed.map(({ row }) => row), text: signed.map(() => icon("failed")) };
}

// Neighbours that end alike are drawn as one where there would be too many; zooming in parts them again.
export function barsInSight(lanes, model, scale, sight) {
  const shown = lanes.slice(sight.first, sight.last + 1);
  for (let thin = THIN; ; thin *= 2) {
    const bars = shown.flatMap((branch, i) => laneBars(branch, sight.first + i, model, scale, sight, thin));
    if (thin > sight.width || bars.length <= MOST_BARS) return bars;
  }
}

function laneBars(branch, row, model, scale, sight, thin) {
  const bars = [];
  for (const step of branch.steps.values()) {
    const from = scale.to(step.start);
    const to = Math.max(scale.to(stepEnd(step, model)), from + THIN / sight.pixels);
    if (to < sight.range[0] || from > sight.range[1]) continue;
    const bar = { status: look(step, branch, model), row, from, to, steps: 1 };
    const last = bars.at(-1);
    if (last && melts(last, bar, sight.pixels, thin)) Object.assign(last, { to: Math.max(last.to, to), steps: last.steps + 1 });
    else bars.push(bar);
  }
  return bars;
}

// Two bars that could not be told apart are drawn as one.
function melts(last, bar, pixels, thin) {
  const near = (bar.from - last.to) * pixels < thin / 2 && (bar.to - bar.from) * pixels <= thin;
  return near && last.status === bar.status && ((last.to - last.from) * pixels <= thin || last.steps > thin / THIN);
}

// Of a step under the pointer, a line each.
export function stepLines(step, branch, model) {
  const shown = look(step, branch, model);
  const again = step.attempt > 1 ? ` · attempt ${step.attempt}` : "";
  const lasted = duration(stepEnd(step, model) - step.start);
  return [`${clip(step.agent, 40)} · ${clip(step.id, 40)}`, `${icon(shown)} ${STATUSES[shown].word} · ${lasted}${again}`, clock(step.start)];
}
