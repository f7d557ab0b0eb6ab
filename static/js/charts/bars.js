// Which bars there are to draw: those in sight, and no more of them than there are pixels.

import { look, stepEnd } from "./model.js";
import { clock, duration, icon, safe, STATUSES } from "./words.js";

const THIN = 2;
const MOST_BARS = 160; // each is several elements of the page

// `sight`: { first, last (lanes), range (u), pixels (per u) }. Returns status → columns for plotly.
export function barsInSight(lanes, model, scale, sight, statuses) {
  const columns = Object.fromEntries(statuses.map((status) => [status, { base: [], x: [], y: [], hovertext: [], text: [] }]));
  fewEnough(lanes, model, scale, sight).forEach((bars, i) => {
    for (const bar of bars) addBar(columns[bar.status], bar, sight.first + i, sight, model);
  });
  return columns;
}

// Neighbours that end alike are drawn as one where there would be too many; zooming in parts them again.
function fewEnough(lanes, model, scale, sight) {
  const shown = lanes.slice(sight.first, sight.last + 1);
  for (let thin = THIN; ; thin *= 2) {
    const bars = shown.map((branch) => laneBars(branch, model, scale, sight, thin));
    if (thin > sight.width || bars.reduce((sum, lane) => sum + lane.length, 0) <= MOST_BARS) return bars;
  }
}

function laneBars(branch, model, scale, sight, thin) {
  const bars = [];
  for (const step of branch.steps.values()) {
    const from = scale.to(step.start);
    const to = Math.max(scale.to(stepEnd(step, model)), from + THIN / sight.pixels);
    if (to < sight.range[0] || from > sight.range[1]) continue;
    const bar = { status: look(step, branch, model), from, to, step, steps: 1 };
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

function addBar(column, bar, row, sight, model) {
  const gap = (bar.to - bar.from) * sight.pixels > 6 ? 1 / sight.pixels : 0;
  column.base.push(bar.from);
  column.x.push(bar.to - bar.from - gap);
  column.y.push(row);
  column.hovertext.push(barText(bar, model));
  column.text.push(bar.status === "failed" && (bar.to - bar.from) * sight.pixels > 14 ? icon("failed") : "");
}

function barText({ status, step, steps }, model) {
  const shown = `${icon(status)} ${STATUSES[status].word}`;
  if (steps > 1) return `${steps} steps · ${shown}`;
  const again = step.attempt > 1 ? ` · attempt ${step.attempt}` : "";
  const lasted = duration(stepEnd(step, model) - step.start);
  return `${safe(step.agent, 40)} · ${safe(step.id, 40)}<br>${shown} · ${lasted}${again}<br>${clock(step.start)}`;
}
