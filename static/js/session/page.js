// The page of a session: tabs, lists, inspector, conversation. What it shows comes from the server, as rows
// in frames or as panels; what whoever reads has chosen is touched by nobody else.
import "../copy.js";
import { key } from "../keys.js";
import { paced } from "../paced.js";
import { toast } from "../toast.js";
import { isActiveOnly, showActiveOnly } from "./active.js";
import { followCheckpoints, wantedCheckpoint, wantNoCheckpoint } from "./checkpoints.js";
import { panel, parse, put, refreshTimes, sayMissing, unlessOvertaken } from "./fetching.js";
import { NewestFirst } from "./newest-first.js";
import { Rows } from "./rows.js";
import { followSearch } from "./search.js";
import { onSelect, select, selection, setQuery } from "./selection.js";
import { keepStanding } from "./standing.js";

const main = document.getElementById("main");
const page = main.querySelector(".session");
const LISTED = { steps: "steps", messages: "messages", log: "log", checkpoints: "checkpoints", questions: "questions", conversation: "messages", aside: "checkpoints" };
const RELOAD_PAUSE = 500;
const MOST_QUESTIONS = 20; // as the server sends them
const WINDOWS = ["steps", "messages", "log"];
// Lists that show one branch where one is chosen.
const FILTERED = new Set(["steps", "messages", "log", "conversation"]);
const STATE_KINDS = new Set(["context.changed", "result.changed", "session.saved", "resume.requested", "session.resumed", "message.added"]);

const report = unlessOvertaken((error) => toast(`This part could not be loaded. ${error.message}`, "error"));

let around = 0; // the event of a message that was searched for
let filter = selection.branch; // the branch that the lists are narrowed to
let wantedStep = ""; // one that was selected and that the list of steps does not have yet

// Lists

const lists = new Map(); // element → Rows
const waiting = new Map(); // panel that is being loaded → rows that came meanwhile

function adopt(root) {
  for (const element of root.querySelectorAll("[data-list]")) lists.set(element, element.dataset.newestFirst === undefined ? new Rows(element) : new NewestFirst(element));
  refreshTimes(root);
  mark();
}

function forget() {
  for (const element of lists.keys()) if (!element.isConnected) lists.delete(element);
}

const branchOf = (name) => (name === "conversation" ? selection.branch : filter);
const agentOf = (name) => (name === "messages" ? agentShown() : "");
const isOfActive = (name) => name === "steps" && isActiveOnly();
const isNarrowed = (name) => FILTERED.has(name) && Boolean(branchOf(name) || agentOf(name) || isOfActive(name));

function wanted(name, frame) {
  const rows = frame.rows[LISTED[name]] ?? [];
  const branch = branchOf(name), agent = agentOf(name);
  if (!isNarrowed(name)) return rows;
  return rows.map((row) => ({ ...row, of: row.html ? parse(row.html).firstElementChild.dataset : {} }))
    .filter(({ html, of }) => html && (!branch || of.branchId === branch) && (!agent || of.agent === agent))
    .map((row) => (isOfActive(name) && row.of.status !== "running" ? { ...row, html: null } : row));
}

// After much was missed a frame has the newest rows of all; which of them are of one branch, the server knows.
function take(name, rows, frame) {
  if (name === "questions" && (rows.byKey.size > MOST_QUESTIONS || holders.questions.querySelector("[data-more]"))) {
    if (frame.rows.questions.length) askAgain();
    return;
  }
  const omitted = frame.omitted[LISTED[name]] ?? 0;
  if (omitted && isNarrowed(name) && rows.atEnd && !rows.detached) load(name).catch(report);
  else rows.take(wanted(name, frame), omitted);
}

// Of very many questions only the first are here: which come up next, the server knows.
const askAgain = paced(() => load("questions").catch(report), RELOAD_PAUSE);

document.addEventListener("state:frame", ({ detail: frame }) => {
  for (const [element, rows] of [...lists]) take(element.dataset.list, rows, frame);
  for (const [name, frames] of waiting) if (LISTED[name]) frames.push(frame);
  main.dataset.seq = frame.seq;
  keepStanding(frame);
  followSelected(frame);
  followState(frame);
  followActive(frame);
  mark();
});

function reload() {
  for (const holder of page.querySelectorAll("[data-panel][data-loaded]")) holder.removeAttribute("data-loaded");
  return Promise.all([show(page.dataset.tab, true), ...["inspector", "conversation"].map((name) => load(name).catch(report))]);
}
// A program that saves its whole state at each step resets the page each time.
document.addEventListener("state:reset", paced(reload, RELOAD_PAUSE));
document.addEventListener("travel:moved", ({ detail }) => detail.until(reload()));

// Panels

const holders = {
  inspector: document.getElementById("inspector"),
  conversation: document.getElementById("conversation"),
  questions: document.getElementById("questions"),
  aside: document.querySelector("#checkpoints [data-panel-body]"),
};
const PANELS = { aside: "checkpoints" };
const nameOf = (part) => Object.keys(holders).find((name) => holders[name].contains(part)) ?? part.closest("[data-panel]").dataset.panel;
const holderOf = (name) => holders[name] ?? page.querySelector(`[data-panel="${name}"]`);

async function load(name) {
  const holder = holderOf(name);
  const frames = [];
  waiting.set(name, frames);
  try {
    replace(holder, await panel(PANELS[name] ?? name, queryOf(name), name));
  } finally {
    if (waiting.get(name) === frames) waiting.delete(name);
  }
  if (name === "steps" && wantedStep) showSelected();
  if (name === "steps") wantedStep = "";
  for (const frame of frames) {
    for (const element of holder.querySelectorAll("[data-list]")) {
      if (lists.has(element)) take(element.dataset.list, lists.get(element), frame);
    }
  }
}

function queryOf(name) {
  if (name === "inspector") return selection;
  if (name === "conversation") return { branch: selection.branch, around };
  if (LISTED[name] === "checkpoints") return { checkpoint: wantedCheckpoint(), aside: name === "aside" && "1" };
  if (name === "search") return { q: new URLSearchParams(location.search).get("q") };
  if (name === "messages") return { branch: filter, agent: agentShown() };
  if (name === "steps") return { branch: filter, step: wantedStep, active: isActiveOnly() ? "1" : "" };
  return WINDOWS.includes(name) ? { branch: filter } : {};
}

function replace(holder, html) {
  put(holder, html);
  holder.dataset.loaded = "true";
  forget();
  adopt(holder);
}

// A list that nobody looks at and that shows the newest rows has nothing which its panel would not bring again.
function letGo(shown) {
  for (const part of page.querySelectorAll("[data-panel][data-loaded]")) {
    if (!WINDOWS.includes(part.dataset.panel) || part.dataset.panel === shown) continue;
    const own = [...part.querySelectorAll("[data-list]")].map((element) => lists.get(element));
    if (!own.every((rows) => rows?.atEnd && !rows.detached)) continue;
    part.replaceChildren();
    part.removeAttribute("data-loaded");
  }
  forget();
}

async function show(tab, again = false) {
  if (tab !== page.dataset.tab) letGo(tab);
  page.dataset.tab = tab;
  document.dispatchEvent(new CustomEvent("tab:show", { detail: { tab } }));
  for (const part of page.querySelectorAll("[data-panel]")) part.hidden = part.dataset.panel !== tab;
  for (const link of document.querySelectorAll("[data-tab][href]")) {
    link.dataset.tab === tab ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
  const holder = holderOf(tab);
  if (tab === "graph") return void dispatchEvent(new Event("resize"));
  if (!holder.dataset.loaded || again) await load(tab).catch(unlessOvertaken((error) => sayMissing(holder, error, () => show(tab, true))));
}

document.querySelector(".tabs").addEventListener("click", (event) => {
  const link = event.target.closest("[data-tab]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  setQuery({ tab: link.dataset.tab === "graph" ? "" : link.dataset.tab });
  show(link.dataset.tab);
});

main.addEventListener("rows:reload", (event) => {
  around = 0;
  wantNoCheckpoint();
  load(nameOf(event.target)).catch(report);
});

// Selection

onSelect((before, by) => {
  if (by !== "search") around = 0;
  if (before.branch !== selection.branch) load("conversation").catch(report);
  load("inspector").then(showInspector).catch(report);
  mark();
  const branch = by === "row" && (!filter || filter === selection.branch) ? filter : selection.branch;
  const isListed = branch === filter && holderOf("steps").querySelector(".is-selected");
  wantedStep = isListed ? "" : selection.step;
  if (branch !== filter) filterBy(branch);
  else if (wantedStep) bringStep();
});

// It may be older than the rows that are here.
function bringStep() {
  holderOf("steps").removeAttribute("data-loaded");
  if (page.dataset.tab === "steps") show("steps");
}

// A step that was picked in a list is marked there; anything else that is selected narrows the lists to it.
function filterBy(branch) {
  filter = branch;
  for (const name of WINDOWS) holderOf(name).removeAttribute("data-loaded");
  show(page.dataset.tab).then(showSelected);
  sayFilter();
}

function showSelected() {
  for (const rows of lists.values()) {
    const chosen = rows.scroller && rows.list.querySelector(":scope > .is-selected");
    if (chosen) rows.show(chosen);
  }
}

function showInspector() {
  const holder = holders.inspector;
  holder.hidden = !holder.querySelector(".inspected");
  sayFilter();
}

function sayFilter() {
  const line = page.querySelector("[data-filter]");
  line.hidden = !filter || !WINDOWS.includes(page.dataset.tab);
  line.querySelector("[data-filter-name]").textContent = holders.inspector.querySelector("[data-branch-name]")?.dataset.branchName ?? filter;
  page.dataset.branch = filter;
}
new MutationObserver(sayFilter).observe(page, { attributeFilter: ["data-tab"] });

function mark() {
  for (const row of page.querySelectorAll("tr[data-step-id]")) {
    const is = Boolean(selection.step) && row.dataset.stepId === selection.step && (!selection.branch || row.dataset.branchId === selection.branch);
    if (row.classList.contains("is-selected") !== is) row.classList.toggle("is-selected", is);
  }
}

const touches = (event) => event.step ? event.step === selection.step : !selection.step && event.branch === selection.branch;
let inspecting = 0;

function followSelected(frame) {
  if (!selection.branch && !selection.step) return;
  if (!frame.events.some((event) => touches(event) || (!selection.step && event.branch === selection.branch))) return;
  clearTimeout(inspecting);
  inspecting = setTimeout(() => load("inspector").then(showInspector).catch(report), 250);
}

let stating = 0;

function followState(frame) {
  if (page.dataset.tab !== "state" || !frame.events.some((event) => STATE_KINDS.has(event.kind))) return;
  clearTimeout(stating);
  stating = setTimeout(() => load("state").catch(report), 800);
}

// Only steps under way

const ENDS_STEPS = /^(branch|session)\.(completed|failed|cancelled)$/;

// What a branch leaves under way when it ends has no event of its own.
function followActive(frame) {
  if (isActiveOnly() && page.dataset.tab === "steps" && frame.events.some(({ kind }) => ENDS_STEPS.test(kind))) load("steps").catch(report);
}

document.addEventListener("state:active", () => {
  const holder = holderOf("steps");
  const hadFocus = holder.contains(document.activeElement);
  holder.removeAttribute("data-loaded");
  if (page.dataset.tab !== "steps") return;
  show("steps").then(() => hadFocus && holder.querySelector("[data-active-only]").focus());
});

// The conversation of one agent

function agentShown() {
  return new URLSearchParams(location.search).get("agent") ?? "";
}

main.addEventListener("change", (event) => {
  if (holderOf("steps").contains(event.target)) return showActiveOnly(event.target.checked);
  if (!event.target.matches("[data-agent-filter]")) return;
  setQuery({ agent: event.target.value });
  load("messages").then(() => holderOf("messages").querySelector("[data-agent-filter]")?.focus()).catch(report);
});

// Who scrolls to the beginning of what is there gets what was before; to the end, what came after.
main.addEventListener("scroll", ({ target }) => {
  if (LISTED[target.dataset?.scroller] !== "messages") return;
  const earlier = target.querySelector(".earlier:not([hidden]) button:not([aria-busy])");
  if (earlier && target.scrollTop < 60 && target.scrollHeight > target.clientHeight) loadEarlier(earlier);
}, { capture: true, passive: true });

main.addEventListener("rows:later", async ({ target, detail }) => {
  const name = nameOf(target);
  if (LISTED[name] !== "messages") return;
  const holder = holderOf(name);
  try {
    replace(holder, await panel(name, { ...queryOf(name), around: detail.seq }));
    holder.querySelector(".is-found")?.classList.remove("is-found");
  } catch (error) {
    report(error);
  }
});

// The conversation beside the results of a search shows the message among its neighbours.
function showMessage(link) {
  around = Number(link.dataset.messageAt);
  const { branchId } = link.dataset;
  if (branchId !== selection.branch) select(branchId, "", "search");
  else load("conversation").catch(report);
  if (innerWidth <= 1000) holders.conversation.scrollIntoView();
}

// Clicks

main.addEventListener("click", (event) => {
  const link = event.target.closest("[data-select]");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    const chosen = new URL(link.href).searchParams;
    return select(chosen.get("branch"), chosen.get("step"), link.closest("tr") ? "row" : "page");
  }
  const message = event.target.closest("[data-message-at]");
  if (message && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    return showMessage(message);
  }
  const button = event.target.closest("button");
  const act = button && Object.keys(BUTTONS).find((name) => button.dataset[name] !== undefined);
  if (act) return BUTTONS[act](button);
  const row = event.target.closest("tr[data-step-id]");
  if (row?.dataset.stepId && !getSelection().toString()) select(row.dataset.branchId, row.dataset.stepId, "row");
});

const BUTTONS = {
  unselect: () => select(),
  earlier: loadEarlier,
  whole: showWhole,
  inspectAll: () => panel("inspector", { ...selection, all: "1" }).then((html) => replace(holders.inspector, html)).catch(report),
  pick: (button) => {
    const open = button.getAttribute("aria-expanded") === "true";
    document.dispatchEvent(new CustomEvent("state:checkpoint", { detail: { id: open ? null : button.dataset.pick, by: "page" } }));
  },
};

async function loadEarlier(button) {
  if (button.getAttribute("aria-busy") === "true") return;
  const scroller = button.closest("[data-scroller]");
  const name = nameOf(scroller);
  const rows = lists.get(scroller.querySelector("[data-list]"));
  button.setAttribute("aria-busy", "true");
  try {
    const html = await panel(LISTED[name], { ...queryOf(name), around: 0, checkpoint: "", step: "", before: button.dataset.earlier }, `earlier ${name}`);
    rows.prepend(parse(html));
    refreshTimes(scroller);
    mark();
  } catch (error) {
    report(error);
  } finally {
    button.removeAttribute("aria-busy");
  }
}

async function showWhole(button) {
  const message = button.closest(".message");
  button.setAttribute("aria-busy", "true");
  try {
    const whole = parse(await panel("message", { message: button.dataset.whole }, `message ${button.dataset.whole}`));
    message.querySelector(".more").remove();
    message.querySelector(".body").replaceWith(whole);
  } catch (error) {
    button.removeAttribute("aria-busy");
    report(error);
  }
}

// Keys

function move(by) {
  const rows = [...page.querySelectorAll('[data-panel]:not([hidden]) [data-list="steps"] > tr')];
  if (!rows.length) return;
  const at = rows.findIndex((row) => row.classList.contains("is-selected"));
  const next = rows[Math.min(rows.length - 1, Math.max(0, at < 0 ? rows.length - 1 : at + by))];
  next.scrollIntoView({ block: "nearest" });
  select(next.dataset.branchId, next.dataset.stepId, "row");
}
key("j", "Next step", () => move(1));
key("k", "Previous step", () => move(-1));
key("Escape", "Close the inspector", () => select());

adopt(main);
for (const part of page.querySelectorAll("[data-panel]")) if (part.children.length) part.dataset.loaded = "true";
followCheckpoints(holderOf, (name) => load(name).catch(report));
followSearch(holderOf("search"), { load, show, report });
sayFilter();
showSelected();
// Whoever was not there yet when the address was read learns what it selects.
if (selection.branch || selection.step) document.addEventListener("charts:ready", () => select(selection.branch, selection.step), { once: true });
