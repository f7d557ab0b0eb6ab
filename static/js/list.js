// The list of sessions: live rows in place, filters without leaving the page, keys.
// live.js tells of changes by "state:list" on document:
// {rows: [{id, store, seq, status, html}], gone: [{id, store}], counts, questions}.
import { announce } from "./announce.js";
import { key } from "./keys.js";
import { countOnly, say } from "./live.js";
import { now, refresh } from "./time.js";

const list = document.getElementById("list");
const filter = document.getElementById("filter");
const COUNTS_EVERY = 2000;
const TYPING = 250;
const AT_TOP = 80;
const MOST_ROWS = 200;
const LEAVING = 900;

let loadedAt = now();
let elsewhere = new Set();

const keyOf = (store, id) => `${store}/${id}`;
const body = () => list.querySelector("#sessions tbody");
const rows = () => [...list.querySelectorAll("tr[data-session-id]")];
const rowOf = (store, id) => rows().find((row) => row.dataset.sessionId === id && row.dataset.store === store);
const isGone = (row) => row.classList.contains("is-gone");

function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.querySelector("tr");
}

// Rows in place. Only cells that the server wrote differently are touched, so that focus, selection and
// scroll survive; what the browser wrote into a cell (relative times) does not count as a difference.
const written = new WeakMap();

function update(row, fresh) {
  const cells = [...fresh.cells];
  const before = written.get(row) ?? [...row.cells].map((cell) => cell.innerHTML);
  written.set(row, cells.map((cell) => cell.innerHTML));
  cells.forEach((cell, index) => {
    if (cell.innerHTML !== before[index]) replaceCell(row.cells[index], cell);
  });
  for (const { name, value } of [...fresh.attributes]) {
    if (row.getAttribute(name) !== value) row.setAttribute(name, value);
  }
  row.classList.toggle("is-elsewhere", !matches(row));
}

function replaceCell(old, fresh) {
  const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  old.replaceChildren(...fresh.cloneNode(true).childNodes);
  refresh(old);
  if (focused) [...old.querySelectorAll("a")].find((a) => a.getAttribute("href") === focused)?.focus();
}

// Does a row belong to what the address asks for?
function matches(row) {
  if (list.dataset.byStore) return true;
  const { statuses, text, tag, store, questions } = list.dataset;
  const { status, text: words, tags, store: own, questions: open } = row.dataset;
  return (
    (!statuses || statuses.split(" ").includes(status)) &&
    (!text || words.toLowerCase().includes(text.toLowerCase())) &&
    (!tag || JSON.parse(tags).includes(tag)) &&
    (!store || store === own) &&
    (!questions || open !== "0")
  );
}

// Of what changes while the list is frozen, that is counted which it would show.
countOnly(({ store, id, html }) => Boolean(rowOf(store, id) || (html && matches(parse(html)))));

// A page of the whole list, with none before or after it, lacks only what is new to it. On others, what
// is not there may be on another page, unless it was made since.
const isWhole = () => !list.querySelector(".pager a[rel]");
const isNew = (row) => Date.parse(row.dataset.created) >= loadedAt - 1000;

function arrive(fresh) {
  if (list.dataset.byStore) return lookAgain();
  if (!matches(fresh) || !(isWhole() || isNew(fresh))) return;
  if (!body()) return void go(location.href, { push: false });
  if (list.dataset.newestFirst && scrollY < AT_TOP) return insert(fresh);
  elsewhere.add(keyOf(fresh.dataset.store, fresh.dataset.sessionId));
  showPill();
}

// Only the store can tell whether a row belongs here; it is asked, and not too often.
let again = 0;

function lookAgain() {
  if (again) return;
  again = setTimeout(() => {
    again = 0;
    if (!document.hidden) go(location.href, { push: false });
  }, COUNTS_EVERY);
}

function insert(fresh) {
  const older = rows().find((row) => row.dataset.created < fresh.dataset.created);
  fresh.classList.add("is-new");
  body().insertBefore(fresh, older ?? null);
  refresh(fresh);
  trim();
  sayShown();
}

// A page that stays open for days does not grow for days.
function trim() {
  for (const row of rows().slice(MOST_ROWS)) {
    if (!row.contains(document.activeElement)) row.remove();
  }
}

function showPill() {
  const pill = list.querySelector(".new-pill");
  pill.hidden = elsewhere.size === 0;
  pill.textContent = `${elsewhere.size} new`;
}

function apply({ id, store, seq, html }) {
  const fresh = parse(html);
  const row = rowOf(store, id);
  if (!row) return fresh && arrive(fresh);
  if (isGone(row) || row.dataset.created !== fresh.dataset.created) return renew(row, fresh);
  if (Number(seq) < Number(row.dataset.seq)) return;
  update(row, fresh);
}

// Deleted, and made anew under the same id.
function renew(row, fresh) {
  row.remove();
  arrive(fresh);
}

// A session that was deleted: its row is seen to go, and says so to who is on it.
function leave({ id, store }) {
  elsewhere.delete(keyOf(store, id));
  showPill();
  const row = rowOf(store, id);
  if (!row) return;
  row.classList.add("is-gone");
  if (row.contains(document.activeElement)) focusBeside(row);
  setTimeout(() => {
    row.remove();
    if (body() && !rows().length) go(location.href, { push: false });
  }, LEAVING);
}

function focusBeside(row) {
  const others = rows().filter((other) => !isGone(other));
  const next = others.find((other) => row.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING) ?? others.at(-1);
  (next?.querySelector(".name > a") ?? filter).focus({ preventScroll: true });
}

// Back after the line was cut, or after nobody looked: what happened meanwhile is in no frame.
document.addEventListener("state:open", async ({ detail }) => {
  if (detail.again) await go(location.href, { push: false });
  say({ since: new Date(loadedAt).toISOString() });
  sayShown();
});
document.addEventListener("state:missed", () => go(location.href, { push: false }));

// The server tells of rows that are shown when they are deleted, however old they are.
function sayShown() {
  say({ shown: rows().map((row) => [row.dataset.store, row.dataset.sessionId]) });
}

// Which of the rows that are here changed their status; a screen reader is told.
function tellStatuses(before) {
  const changed = rows().filter((row) => before.has(row) && before.get(row) !== row.dataset.status);
  if (!changed.length) return;
  const [{ dataset: { sessionId, status } }] = changed;
  announce(`${sessionId} is ${status}.${changed.length > 1 ? ` ${changed.length - 1} more changed.` : ""}`);
}

document.addEventListener("state:list", ({ detail }) => {
  const before = new Map(rows().map((row) => [row, row.dataset.status]));
  for (const row of detail.rows ?? []) apply(row);
  for (const gone of detail.gone ?? []) leave(gone);
  if (detail.counts) showOrAskCounts(detail);
  tellStatuses(before);
});

// Counts. Those of a frame are of all sessions; under a filter the server is asked for its own.
const number = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f");

const sumOf = (counts, statuses) => statuses.reduce((sum, status) => sum + (counts[status] ?? 0), 0);

function showCounts(counts, questions) {
  const total = Object.values(counts).reduce((sum, n) => sum + n, 0);
  for (const chip of list.querySelectorAll("[data-count]")) {
    const name = chip.dataset.count;
    const statuses = (chip.dataset.of ?? name).split(" ");
    const count = name === "all" ? total : name === "questions" ? questions : sumOf(counts, statuses);
    chip.querySelector("b").textContent = number(count);
    if (name !== "all") chip.hidden = !count && !chip.hasAttribute("aria-current");
  }
  showTotal(counts, total);
}

function showTotal(counts, total) {
  const line = list.querySelector("[data-total]");
  const chosen = list.dataset.statuses.split(" ").filter(Boolean);
  const shown = chosen.length ? sumOf(counts, chosen) : total;
  if (line) line.textContent = `${number(shown)} ${shown === 1 ? "session" : "sessions"}`;
}

let asking = 0;

function showOrAskCounts({ counts, questions }) {
  if (!list.dataset.narrowed) showCounts(counts, questions);
  else if (!asking) asking = setTimeout(askCounts, COUNTS_EVERY);
}

async function askCounts() {
  asking = 0;
  if (document.hidden) return;
  const response = await fetch(location.href, { headers: { Accept: "application/json" } }).catch(() => null);
  if (!response?.ok) return;
  const { counts, questions } = await response.json();
  showCounts(counts, questions);
}

// Filters, sorting and pages: the address changes, the page stays
let latest = 0;

async function go(href, { push = true } = {}) {
  const mine = ++latest;
  const response = await fetch(href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (mine !== latest) return;
  if (!response?.ok || response.redirected) return void location.assign(href);
  show(new DOMParser().parseFromString(await response.text(), "text/html"));
  if (push) history.pushState(null, "", href);
  else history.replaceState(null, "", href);
}

function show(page) {
  const fresh = page.getElementById("list");
  const focused = focusIn();
  for (const name of Object.keys(fresh.dataset)) list.dataset[name] = fresh.dataset[name];
  list.replaceChildren(...fresh.childNodes);
  replaceHidden(page);
  document.dispatchEvent(new CustomEvent("list:shown", { detail: { page } }));
  loadedAt = Date.parse(page.body.dataset.now) || now();
  elsewhere = new Set();
  refresh(list);
  focused()?.focus({ preventScroll: true });
  sayShown();
}

// Where the focus is in the list, to be found again in the next one.
function focusIn() {
  const active = list.contains(document.activeElement) ? document.activeElement : null;
  const { count } = active?.dataset ?? {};
  const { store, sessionId } = active?.closest("tr")?.dataset ?? {};
  const href = active?.getAttribute("href");
  if (count) return () => list.querySelector(`[data-count="${count}"]`);
  return () => [...(rowOf(store, sessionId)?.querySelectorAll("a") ?? [])].find((a) => a.getAttribute("href") === href);
}

function replaceHidden(page) {
  const form = filter.form;
  form.querySelectorAll("input[type=hidden]").forEach((input) => input.remove());
  form.prepend(...page.querySelectorAll(".filter input[type=hidden]"));
  if (document.activeElement !== filter) filter.value = page.getElementById("filter").value;
}

const IN_PLACE = ".chips a, .sessions th a, .pager a, .tag, .empty a, .new-pill";

list.addEventListener("click", (event) => {
  const link = event.target.closest(IN_PLACE);
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(link.href).then(() => link.closest(".pager") && scrollTo(0, 0));
});

addEventListener("popstate", () => go(location.href, { push: false }));

const asked = () => {
  const query = new URLSearchParams([...new FormData(filter.form)].filter(([, value]) => value));
  return `${filter.form.getAttribute("action")}${query.size ? `?${query}` : ""}`;
};

let typing = 0;
filter.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => go(asked(), { push: false }), TYPING);
});
filter.form.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typing);
  go(asked());
});

// Keys

function move(step) {
  const links = rows().map((row) => row.querySelector(".name > a"));
  const at = links.findIndex((link) => link.closest("tr").contains(document.activeElement));
  links[at === -1 ? (step > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + step))]?.focus();
}

key("/", "Filter", () => filter.select());
key("a", "Active sessions only, or all", () => list.querySelector('[data-count="active"]').click());
key("j", "Next session", () => move(1));
key("k", "Previous session", () => move(-1));
filter.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if (filter.value) return;
  filter.blur();
});
