// What both charts show: branches in the order of their opening, each with its steps.

export function modelFrom(json, receivedAt) {
  const branches = new Map(json.timeline.lanes.map((lane) => [lane.id, { ...lane, steps: new Map() }]));
  const ids = json.timeline.lanes.map((lane) => lane.id);
  const { agents, lane, step, agent, status, attempt, start, end } = json.timeline.bars;
  for (let i = 0; i < lane.length; i += 1) {
    branches.get(ids[lane[i]]).steps.set(step[i], {
      id: step[i], agent: agents[agent[i]], status: status[i], attempt: attempt[i], start: start[i], end: end[i],
    });
  }
  return {
    sessionId: json.session_id,
    seq: json.seq,
    status: json.status,
    ended: json.ended,
    branches,
    checkpoints: json.checkpoints,
    pauses: json.pauses,
    turns: json.turns,
    offset: json.server_time - receivedAt,
    past: json.at ? json.server_time : null,
  };
}

// The server's clock, as far as this browser can tell; in the past it stands.
export const now = (model) => model.past ?? Date.now() + model.offset;

const ENDED = new Set(["completed", "failed", "cancelled"]);

export const isActive = (branch) => !ENDED.has(branch.status);

export function isHeld(model) {
  const last = model.pauses.at(-1);
  return Boolean(last && last.end === null);
}

export const isRunning = (model) => !isHeld(model) && !ENDED.has(model.status) && model.status !== "pending";

// Until when a step that has no end was worked on: a held or ended session stops every clock.
export function openEnd(model) {
  if (ENDED.has(model.status) && model.ended) return model.ended;
  return isHeld(model) ? model.pauses.at(-1).start : now(model);
}

export function look(step, branch, model) {
  if (step.status !== "running") return step.status;
  if (!isRunning(model)) return "paused";
  return branch.status === "waiting" ? "waiting" : "running";
}

export function stepEnd(step, model) {
  return Math.max(step.start, step.end ?? openEnd(model));
}

export function runningStep(branch) {
  let found = null;
  for (const step of branch.steps.values()) if (step.status === "running") found = step;
  return found;
}

export function missingParents(branch) {
  if (branch.parents.length < 2 || ENDED.has(branch.status) || branch.steps.size) return [];
  return branch.parents.filter((parent) => !branch.joined.includes(parent));
}
