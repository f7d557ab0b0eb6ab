// What both charts show: branches in the order of their opening, each with its steps. The server sends them as
// columns (marsys_dashboard/columns.py).

export function modelFrom(json, receivedAt) {
  return {
    sessionId: json.session_id,
    seq: json.seq,
    status: json.status,
    ended: json.ended,
    branches: branchesFrom(json.timeline),
    checkpoints: json.checkpoints,
    pauses: json.pauses,
    turns: json.turns,
    offset: json.server_time - receivedAt,
    past: json.at ? json.server_time : null,
  };
}

function branchesFrom({ lanes, bars, names }) {
  const branches = new Map();
  let opened = 0;
  lanes.id.forEach((id, i) => {
    opened += lanes.opened[i];
    branches.set(id, {
      id,
      name: lanes.name[i] ?? id,
      type: names[lanes.type[i]],
      status: names[lanes.status[i]],
      agent: names[lanes.agent[i]] || null,
      parents: lanes.parents[i].map((lane) => lanes.id[lane]),
      joined: lanes.joined[i].map((lane) => lanes.id[lane]),
      opened,
      ended: lanes.ended[i] === null ? null : opened + lanes.ended[i],
      steps: new Map(),
    });
  });
  addSteps(branches, bars, names);
  return branches;
}

function addSteps(branches, { count, step, agent, status, start, took, again }, names) {
  let [i, lane, began] = [0, 0, 0];
  for (const { steps } of branches.values()) {
    for (const end = i + count[lane]; i < end; i += 1) {
      began += start[i];
      const ended = took[i] === null ? null : began + took[i];
      steps.set(step[i], { id: step[i], agent: names[agent[i]], status: names[status[i]], attempt: again[i] ?? 1, start: began, end: ended });
    }
    lane += 1;
  }
}

// Where the boxes of the graph stand, and which of them edges join.
export function graphFrom({ graph, timeline }) {
  const { id, name } = timeline.lanes;
  const nodes = graph.of.map((lanes, i) => {
    const [first] = lanes;
    const members = lanes.length > 1 ? { members: lanes.map((lane) => id[lane]) } : {};
    return { id: members.members ? `group of ${id[first]}` : id[first], name: name[first] ?? id[first], x: graph.x[i], y: graph.y[i], w: graph.w[i], ...members };
  });
  const edges = [];
  for (let i = 0; i < graph.edges.length; i += 2) edges.push([nodes[graph.edges[i]].id, nodes[graph.edges[i + 1]].id]);
  return { ...graph, nodes, edges };
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

// When each step began and ended: numbers, since all are gone through at each drawing.
export function stepTimes(model) {
  let steps = 0;
  for (const branch of model.branches.values()) steps += branch.steps.size;
  const [starts, ends] = [new Float64Array(steps), new Float64Array(steps)];
  let i = 0;
  for (const branch of model.branches.values()) {
    for (const step of branch.steps.values()) {
      starts[i] = step.start;
      ends[i] = stepEnd(step, model);
      i += 1;
    }
  }
  return { starts, ends };
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
