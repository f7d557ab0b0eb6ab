// What lies over and under the bars: pauses, folded gaps, the selection, checkpoints, the line of now.
// `view` is the timeline as it stands.

import { stamp } from "../clock.js";
import { barShapes } from "./bars.js";
import { faded } from "./colours.js";
import { isRunning, openEnd, stepEnd } from "./model.js";
import { brief, clip } from "./words.js";

const CLOSEST_MARKS = 4; // pixels
const CLOSEST_WORDS = 64;

// What comes first lies below what follows.
export function shapesOf(view, sight) {
  return [...selectedLane(view, sight), ...bands(view), ...gaps(view), ...barShapes(view, sight), ...marksOfSelection(view, sight), ...turnLines(view), ...nowLine(view)];
}

export function wordsOf(view, sight) {
  return [...bandWords(view, sight), ...turnWords(view, sight)];
}

// Of checkpoints that would lie on one another one is drawn, and the one that is picked always.
export function marksInSight({ model, scale, selection }, sight) {
  const shown = [];
  let last = -Infinity;
  for (const place of model.checkpoints) {
    const x = scale.to(place.at);
    const isPicked = place.id === selection.checkpoint;
    if (!isPicked && (x - last) * sight.pixels < CLOSEST_MARKS) continue;
    shown.push({ place, x, isPicked });
    last = x;
  }
  return shown;
}

export const markLines = (place) => [`◆ ${clip(place.name, 60)}`, `${clip(place.kind)} checkpoint · ${stamp(place.at)}`];

function bands(view) {
  return view.model.pauses.map((pause) => ({
    type: "rect", xref: "x", yref: "paper", x0: view.scale.to(pause.start), x1: view.scale.to(pause.end ?? Math.max(view.end, pause.start)),
    y0: 0, y1: 1, layer: "below", line: { width: 0 }, fillcolor: faded(view.colours.paused, 0.12),
  }));
}

function gaps(view) {
  return view.scale.gaps.map((gap) => ({
    type: "rect", xref: "x", yref: "paper", x0: view.scale.to(gap.from), x1: view.scale.to(gap.to), y0: 0, y1: 1, layer: "below",
    line: { width: 1, dash: "dot", color: view.colours.line }, fillcolor: "rgba(0,0,0,0)",
  }));
}

function bandWords(view, sight) {
  const held = ({ from, to }) => view.model.pauses.some((pause) => pause.start < to && (pause.end ?? view.end) > from);
  const words = [
    ...view.scale.gaps.map((gap) => [gap.from, gap.to, `${held(gap) ? "❚❚" : "⋯"} ${brief(gap.to - gap.from)}`, 8]),
    ...view.model.pauses.filter((pause) => !view.scale.gaps.some((gap) => gap.from < (pause.end ?? view.end) && gap.to > pause.start))
      .map((pause) => [pause.start, pause.end ?? view.end, `❚❚ ${pause.why}`, 64]),
  ];
  const inSight = words.map(([from, to, text, room]) => [view.scale.to(from), view.scale.to(to), text, room])
    .filter(([from, to, , room]) => (to - from) * sight.pixels >= room && to > sight.range[0] && from < sight.range[1]);
  return apart(inSight.map(([from, to, text]) => ({ x: (from + to) / 2, text })), CLOSEST_WORDS / sight.pixels).map(({ x, text }) => ({
    x, y: 1, yref: "paper", yanchor: "bottom", text, showarrow: false, font: { size: 10, color: view.colours.muted },
  }));
}

// The first of those that would lie on one another.
function apart(words, distance) {
  const shown = [];
  for (const word of words.toSorted((one, other) => one.x - other.x)) {
    if (!shown.length || word.x - shown.at(-1).x >= distance) shown.push(word);
  }
  return shown;
}

function selectedRow(view, sight) {
  const row = view.lanes.findIndex((branch) => branch.id === view.selection.branch);
  return row >= sight.first && row <= sight.last ? row : -1;
}

function selectedLane(view, sight) {
  const row = selectedRow(view, sight);
  if (row < 0) return [];
  return [{ type: "rect", xref: "paper", yref: "y", x0: 0, x1: 1, y0: row - 0.5, y1: row + 0.5, layer: "below", line: { width: 0 }, fillcolor: view.colours.soft }];
}

function marksOfSelection(view, sight) {
  const shapes = [];
  const row = selectedRow(view, sight);
  const selected = row < 0 ? null : view.lanes[row].steps.get(view.selection.step);
  if (selected) shapes.push(around(view, selected, row, "solid", sight));
  if (view.cursor && view.lanes[view.cursor.row]) {
    const step = [...view.lanes[view.cursor.row].steps.values()][view.cursor.step];
    shapes.push(step ? around(view, step, view.cursor.row, "dot", sight)
      : { type: "rect", xref: "paper", yref: "y", x0: 0, x1: 1, y0: view.cursor.row - 0.5, y1: view.cursor.row + 0.5, line: { width: 1.5, dash: "dot", color: view.colours.accent } });
  }
  return shapes;
}

function around(view, step, row, dash, sight) {
  const room = 3 / sight.pixels;
  return {
    type: "rect", xref: "x", yref: "y", x0: view.scale.to(step.start) - room, x1: view.scale.to(stepEnd(step, view.model)) + room,
    y0: row - 0.38, y1: row + 0.38, line: { width: 2, dash, color: view.colours.accent },
  };
}

// Where the session was put back, or began as a fork.
function turnLines(view) {
  return view.model.turns.map(({ at }) => ({
    type: "line", xref: "x", yref: "paper", x0: view.scale.to(at), x1: view.scale.to(at), y0: 0, y1: 1,
    line: { width: 1.5, dash: "dash", color: view.colours.paused },
  }));
}

function turnWords(view, sight) {
  const inSight = view.model.turns.map((turn) => ({ ...turn, x: view.scale.to(turn.at) })).filter(({ x }) => x >= sight.range[0] && x <= sight.range[1]);
  return inSight.slice(-20).map(({ x, at, what, to }) => ({
    x, y: 0, yref: "paper", yanchor: "bottom", xanchor: x > (sight.range[0] + sight.range[1]) / 2 ? "right" : "left", showarrow: false,
    text: what === "restored" ? `↺ back to ${Number(to)}` : "↳ forked",
    hovertext: `${what} · ${stamp(at)}`, font: { size: 10, color: view.colours.text },
  }));
}

function nowLine(view) {
  if (!isRunning(view.model)) return [];
  const at = view.scale.to(openEnd(view.model));
  return [{ type: "line", xref: "x", yref: "paper", x0: at, x1: at, y0: 0, y1: 1, line: { width: 1.5, color: view.colours.accent } }];
}
