// Folds live events into the model, as state_core/fold.py folds headers. Pure but for the model it is given.

const ms = (at) => (typeof at === "number" ? at : Date.parse(at));

const HOLDS = { "session.paused": "paused", "session.interrupted": "interrupted" };

const SESSION_STATUS = {
  "session.created": "pending",
  "session.started": "running",
  "session.paused": "paused",
  "session.resumed": "running",
  "session.completed": "completed",
  "session.failed": "failed",
  "session.cancelled": "cancelled",
  "session.interrupted": "interrupted",
  "pause.requested": "pausing",
  "restore.requested": "pausing",
  "resume.requested": "resuming",
  "cancel.requested": "cancelling",
};

// Returns what has to be drawn again: { branches, structure, session, checkpoints } and, where the model
// cannot follow by itself, { refetch: true }.
export function foldFrame(model, frame) {
  const changes = { branches: new Set(), structure: false, session: false, checkpoints: false, refetch: false };
  for (const event of frame.events ?? []) {
    if (event.seq <= model.seq) continue;
    if (event.seq !== model.seq + 1) return { ...changes, refetch: true };
    foldEvent(model, event, changes);
    model.seq = event.seq;
  }
  return changes;
}

function foldEvent(model, event, changes) {
  if (["session.restored", "session.forked", "session.compacted"].includes(event.kind)) {
    changes.refetch = true;
    return;
  }
  const status = SESSION_STATUS[event.kind] ?? event.data?.session;
  if (status && status !== model.status) {
    model.status = status;
    changes.session = true;
  }
  const shape = SHAPES[event.kind];
  if (shape) shape(model, event, changes);
}

function held(model, event, changes) {
  model.ended = null;
  if (model.pauses.at(-1)?.end !== null) {
    model.pauses.push({ start: ms(event.at), end: null, why: HOLDS[event.kind] });
  }
  moveBranches(model, "running", "paused", changes);
}

function endHold(model, event) {
  const last = model.pauses.at(-1);
  if (last && last.end === null) last.end = ms(event.at);
}

function resumed(model, event, changes) {
  endHold(model, event);
  model.ended = null;
  endBranches(model, event.data?.reopens, { status: "running", ended: null }, changes);
  moveBranches(model, "paused", "running", changes);
}

function ended(model, event, changes) {
  endHold(model, event);
  model.ended = ms(event.at);
  changes.session = true;
}

function completed(model, event, changes) {
  ended(model, event, changes);
  endBranches(model, event.data?.closes, { status: "completed", ended: ms(event.at) }, changes);
}

function endBranches(model, ids, values, changes) {
  for (const id of ids ?? []) {
    const branch = model.branches.get(id);
    if (branch) Object.assign(branch, values);
    else changes.refetch = true;
    changes.branches.add(id);
  }
}

function moveBranches(model, from, to, changes) {
  changes.session = true;
  for (const branch of model.branches.values()) {
    if (branch.status !== from) continue;
    branch.status = to;
    changes.branches.add(branch.id);
  }
}

function opened(model, event, changes) {
  model.branches.set(event.branch, {
    id: event.branch,
    name: event.data?.name || event.branch,
    type: event.data?.type ?? "sequential",
    status: event.status || "running",
    agent: event.agent || null,
    parents: event.data?.parents ?? [],
    joined: [],
    opened: ms(event.at),
    ended: null,
    steps: new Map(),
  });
  changes.structure = true;
  changes.branches.add(event.branch);
}

function ofBranch(change) {
  return (model, event, changes) => {
    const branch = model.branches.get(event.branch);
    if (!branch) {
      changes.refetch = true;
      return;
    }
    change(branch, event, changes);
    changes.branches.add(branch.id);
  };
}

const moved = ofBranch((branch, event) => {
  branch.status = event.status || branch.status;
});

const joined = ofBranch((branch, event) => {
  if (!branch.joined.includes(event.data.parent)) branch.joined.push(event.data.parent);
  branch.status = event.status || branch.status;
});

const branchEnded = ofBranch((branch, event) => {
  branch.status = event.status;
  branch.ended = ms(event.at);
});

const asked = ofBranch((branch) => {
  branch.status = "waiting";
});

function startStep(branch, event, at) {
  branch.status = "running";
  branch.ended = null;
  branch.steps.set(event.step, {
    id: event.step, agent: event.agent || "", status: "running", attempt: event.data?.attempt ?? 1, start: ms(at), end: null,
  });
}

const stepStarted = ofBranch((branch, event) => startStep(branch, event, event.at));

const stepRetried = ofBranch((branch, event, changes) => {
  branch.status = "running";
  branch.ended = null;
  changeStep(branch, event, changes, { status: "running", attempt: event.data.attempt, start: ms(event.at), end: null });
});

const stepEnded = ofBranch((branch, event, changes) => {
  if (event.data?.began) startStep(branch, event, event.data.began);
  changeStep(branch, event, changes, { status: event.status, end: ms(event.at) });
});

function changeStep(branch, event, changes, values) {
  const step = branch.steps.get(event.step);
  if (step) Object.assign(step, values);
  else changes.refetch = true;
}

function checkpointCreated(model, event, changes) {
  const { id, name, kind, seq } = event.data;
  model.checkpoints.push({ id, name, kind, seq: seq ?? event.seq, at: ms(event.at) });
  changes.checkpoints = true;
}

function checkpointRenamed(model, event, changes) {
  const place = model.checkpoints.find((checkpoint) => checkpoint.id === event.data.id);
  if (place) place.name = event.data.name;
  changes.checkpoints = true;
}

function checkpointDeleted(model, event, changes) {
  const gone = new Set(event.data.ids);
  model.checkpoints = model.checkpoints.filter((checkpoint) => !gone.has(checkpoint.id));
  changes.checkpoints = true;
}

const SHAPES = {
  "session.started": resumed,
  "session.resumed": resumed,
  "session.paused": held,
  "session.interrupted": held,
  "session.completed": completed,
  "session.failed": ended,
  "session.cancelled": ended,
  "branch.opened": opened,
  "branch.waiting": moved,
  "branch.resumed": moved,
  "branch.joined": joined,
  "branch.completed": branchEnded,
  "branch.failed": branchEnded,
  "branch.cancelled": branchEnded,
  "step.started": stepStarted,
  "step.retried": stepRetried,
  "step.completed": stepEnded,
  "step.failed": stepEnded,
  "input.requested": asked,
  "checkpoint.created": checkpointCreated,
  "checkpoint.renamed": checkpointRenamed,
  "checkpoint.deleted": checkpointDeleted,
};
