// The words, colours and lines of the graph's boxes.

import { ENDED, brief, clip, count, duration, icon, safe, STATUSES } from "./words.js";
import { isRunning, missingParents, now, openEnd, runningStep } from "./model.js";

// Which of many stands for all: what needs a person first.
const URGENCY = ["failed", "waiting", "running", "paused", "pending", "completed", "cancelled"];

// A node as the model has it at present: { status, title, detail, branches, ahead }.
export function present(node, model) {
  const branches = (node.members ?? [node.id]).map((id) => model.branches.get(id)).filter(Boolean);
  if (!branches.length) return { status: "pending", title: node.name, detail: "", branches };
  const status = mostUrgent(branches);
  return branches.length === 1 ? one(branches[0], model) : { status, branches, title: `${familyName(branches)} ×${branches.length}`, detail: tally(branches) };
}

function one(branch, model) {
  return { status: branch.status, title: branch.name, detail: detail(branch, model), branches: [branch] };
}

export function mostUrgent(branches) {
  const present_ = new Set(branches.map((branch) => branch.status));
  return URGENCY.find((status) => present_.has(status)) ?? "pending";
}

export function mostUrgentBranch(branches) {
  const status = mostUrgent(branches);
  return branches.find((branch) => branch.status === status);
}

export function tally(branches) {
  const counts = {};
  for (const { status } of branches) counts[status] = (counts[status] ?? 0) + 1;
  return URGENCY.filter((status) => counts[status]).map((status) => `${icon(status)} ${counts[status]}`).join("  ");
}

// What the siblings' names have in common: "Researcher-1" and "Researcher-2" are "Researcher".
function familyName(branches) {
  let common = branches[0].name;
  for (const { name } of branches) while (common && !name.startsWith(common)) common = common.slice(0, -1);
  const trimmed = common.replace(/[\s\d_.:#/-]+$/, "");
  return trimmed.length ? trimmed : branches[0].name;
}

export function detail(branch, model) {
  const missing = missingParents(branch);
  if (missing.length && branch.status !== "running") return `${branch.parents.length - missing.length} of ${branch.parents.length} arrived`;
  const steps = count(branch.steps.size, "step");
  if (branch.status === "pending") return "pending";
  const step = runningStep(branch);
  if (step && isRunning(model)) {
    const lasts = brief(wholeSeconds(now(model) - step.start));
    return branch.status === "waiting" ? `waiting · ${lasts}` : `${steps} · step ${lasts}`;
  }
  return branch.ended || !isRunning(model) ? `${steps} · ${brief((branch.ended ?? openEnd(model)) - branch.opened)}` : `${steps} · ${branch.status}`;
}

// What is under way is told once a second.
const wholeSeconds = (milliseconds) => Math.max(1000, Math.floor(milliseconds / 1000) * 1000);

// "3 of 4 arrived, waiting for Researcher-2 · 2 m 10 s", for the joins that are open.
export function openJoins(model) {
  const joins = [...model.branches.values()].filter((branch) => missingParents(branch).length && branch.joined.length);
  if (!joins.length) return "";
  const [branch] = joins;
  const missing = missingParents(branch);
  const since = Math.max(...branch.joined.map((id) => model.branches.get(id)?.ended ?? 0));
  const lasts = since && isRunning(model) ? `, ${duration(Math.max(0, now(model) - since))}` : "";
  const names = missing.slice(0, 2).map((id) => clip(model.branches.get(id)?.name ?? id, 24)).join(" and ");
  const more = missing.length > 2 ? ` and ${missing.length - 2} more` : "";
  const others = joins.length > 1 ? ` · ${joins.length - 1} more open ${joins.length === 2 ? "join" : "joins"}` : "";
  return `${branch.parents.length - missing.length} of ${branch.parents.length} arrived at ${clip(branch.name, 24)}, waiting for ${names}${more}${lasts}${others}`;
}

// Has anything come along this edge yet?
export function isWalked(source, target) {
  return target.branches.every((branch) => {
    const parents = source.branches.filter((parent) => branch.parents.includes(parent.id));
    if (parents.length && parents.every((parent) => branch.joined.includes(parent.id))) return true;
    const begun = branch.steps.size > 0 || branch.status === "running" || ENDED.has(branch.status);
    return begun && (branch.status !== "cancelled" || branch.steps.size > 0);
  });
}

// What a rule says of one of these branches, or nothing.
export const flagOf = (shown, model) => shown.branches.map(({ id }) => model.flags?.get(id)).find(Boolean) ?? "";

// In words, a line each.
export function hoverLines(shown, flag = "") {
  const warning = flag ? [`⚠ ${clip(flag, 160)}`] : [];
  if (shown.branches.length !== 1) return [clip(shown.title, 60), shown.detail, ...warning];
  const [branch] = shown.branches;
  const agent = branch.agent ? [clip(branch.agent, 60)] : [];
  return [clip(branch.name, 60), `${icon(branch.status)} ${STATUSES[branch.status]?.word ?? ""} · ${shown.detail}`, ...agent, ...warning];
}

export const BOX_HEIGHT = 40;

const [WIDE, NARROW] = [0.574, 0.5]; // of a letter, in the height of its font
const TIGHT = 1.15; // where a box is smaller than its words were laid out for
const lettersIn = (pixels, width) => Math.max(2, Math.floor(pixels / width));

// `sideways`: pixels of a unit across; `sizes`: of the fonts, in pixels. Where the icon and the name stand, and under them, where there is room, what it did.
// Of a box that is partly out of sight they stand in the part that is not.
export function boxWords(node, shown, { scale, sideways, sizes, from, flag }) {
  const right = node.x + node.w / 2;
  const x = Math.min(Math.max(node.x - node.w / 2, from - 4) + 10, right - 30);
  const room = lettersIn((right - x - 24) * sideways, sizes.title * WIDE * (sideways < 1 ? TIGHT : 1)) - (flag ? 2 : 0);
  const hasSecond = scale >= 0.8;
  const sign = icon(shown.status);
  const cutAt = shown.title.length > room ? room - sign.length + 1 : room;
  const name = `${flag ? "⚠ " : ""}${sign} ${safe(shown.title, cutAt)}`;
  const title = { id: node.id, x, y: hasSecond ? node.y - 8 : node.y, text: name };
  if (!hasSecond) return { title };
  return { title, detail: { id: node.id, x, y: node.y + 9, text: safe(shown.detail, lettersIn((right - x - 8) * sideways, sizes.detail * NARROW)) } };
}
