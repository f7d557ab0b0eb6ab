// Selecting rows of the list, to compare two or to act on them together: checkboxes, shift for a range, x on
// the row that has the focus, and "all that match". The dialog is the server's; nothing acts without it.
import { openFragment } from "./dialogs.js";
import { key } from "./keys.js";
import { toast } from "./toast.js";

const list = document.getElementById("list");
const bar = document.getElementById("bulk");
const { all, query } = bar.elements;
const mayAct = Boolean(bar.querySelector("button[name=verb]"));
const selected = new Set();
let last = null; // where a range begins

const boxes = () => [...list.querySelectorAll("tbody .pick input")];
const boxOf = (row) => row?.querySelector(".pick input");
const number = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f");
const matching = () => Number((list.querySelector("[data-total]")?.textContent ?? "").replace(/\D/g, ""));

// The filter, without the page.
function asked() {
  const found = new URLSearchParams(location.search);
  found.delete("after");
  return found.toString();
}

function pick(box, on) {
  if (!box || box.closest("tr").classList.contains("is-gone")) return;
  if (on) selected.add(box.value);
  else selected.delete(box.value);
}

function pickRange(from, to, on) {
  const found = boxes();
  const ends = [found.indexOf(from), found.indexOf(to)].sort((a, b) => a - b);
  if (ends[0] < 0) return pick(to, on);
  for (const box of found.slice(ends[0], ends[1] + 1)) pick(box, on);
}

// Rows come and go while they are selected: the checkboxes follow what is selected.
function show() {
  const isAll = !all.disabled;
  for (const box of boxes()) {
    const on = isAll || selected.has(box.value);
    box.checked = on;
    box.closest("tr").classList.toggle("is-picked", on);
  }
  const found = boxes();
  const head = list.querySelector("thead .pick input");
  const chosen = found.filter((box) => box.checked).length;
  if (head) {
    head.checked = found.length > 0 && chosen === found.length;
    head.indeterminate = chosen > 0 && chosen < found.length;
  }
  const count = isAll ? matching() : selected.size;
  bar.hidden = !count;
  bar.querySelector("[data-selected]").textContent = isAll ? `All ${number(count)} matching` : number(count);
  offerAll(isAll, chosen === found.length);
  offerToCompare(isAll ? [] : [...selected]);
}

// The one that was selected first stands on the left.
function offerToCompare([first, second, ...more]) {
  const link = bar.querySelector("[data-compare-two]");
  const areTwo = Boolean(second) && !more.length;
  link.ariaDisabled = String(!areTwo);
  link.title = areTwo ? "Side by side" : "Select two sessions to compare them";
  if (areTwo) link.href = `/sessions/${first}/compare/?with=${encodeURI(second)}`;
  else link.removeAttribute("href");
}

function compare() {
  const link = bar.querySelector("[data-compare-two]");
  if (link.href) link.click();
  else toast(`${link.title}: x selects the one that has the focus.`, "error");
}

function offerAll(isAll, isWholePage) {
  const button = bar.querySelector("[data-select-all]");
  const count = matching();
  button.hidden = !mayAct || isAll || !isWholePage || count <= selected.size;
  button.textContent = `Select all ${number(count)} matching`;
}

function unselect() {
  selected.clear();
  all.disabled = query.disabled = true;
  last = null;
  show();
}

// What leaves the page is selected no more: nothing is acted on that nobody sees.
let due = 0;
function forgetMissingSoon() {
  if (!due) due = requestAnimationFrame(forgetMissing);
}

function forgetMissing() {
  due = 0;
  if (!all.disabled && query.value !== asked()) all.disabled = query.disabled = true;
  const present = new Set(boxes().map((box) => box.value));
  for (const value of selected) if (!present.has(value)) selected.delete(value);
  show();
}

list.addEventListener("click", (event) => {
  const box = event.target.closest?.(".pick input");
  if (!box) return;
  if (!all.disabled) all.disabled = query.disabled = true;
  if (box.closest("thead")) for (const other of boxes()) pick(other, box.checked);
  else if (event.shiftKey && last) pickRange(boxes().find((other) => other.value === last), box, box.checked);
  else pick(box, box.checked);
  last = box.closest("thead") ? null : box.value;
  show();
});

bar.querySelector("[data-select-all]").addEventListener("click", () => {
  all.disabled = query.disabled = false;
  all.value = "1";
  query.value = asked();
  show();
});
bar.querySelector("[data-unselect-all]").addEventListener("click", unselect);

bar.addEventListener("submit", (event) => {
  event.preventDefault();
  const body = new URLSearchParams(new FormData(bar, event.submitter));
  body.delete("target");
  if (all.disabled) for (const value of selected) body.append("target", value);
  openFragment(bar.action, { method: "POST", body }).catch((error) => toast(error.message, "error"));
});

function toggleFocused() {
  const row = document.activeElement.closest?.("tr[data-session-id]");
  const box = boxOf(row);
  if (!box) return toast("Move to a row with j and k first; x selects it.", "error");
  if (!all.disabled) all.disabled = query.disabled = true;
  pick(box, !selected.has(box.value));
  last = box.value;
  show();
}

function pickTo() {
  const box = boxOf(document.activeElement.closest?.("tr[data-session-id]"));
  if (!box) return;
  pickRange(boxes().find((other) => other.value === last), box, true);
  last = box.value;
  show();
}

key("x", "Select the session, or not", toggleFocused);
key("c", "Compare the two selected sessions", compare);
key("Shift+X", "Select up to this session", pickTo);

new MutationObserver(forgetMissingSoon).observe(list, { childList: true, subtree: true });
show();
