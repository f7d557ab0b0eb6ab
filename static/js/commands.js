// The command palette: Ctrl+K or ⌘K. Goes to a session by name, to a page or a part of this one, and opens the
// dialogs of the open session. It acts on nothing by itself.
import { keys } from "./keys.js";

const TYPING = 150;
const MOST = 40;

let dialog = null, field = null, list = null, note = null;
let shown = [], at = 0, sessions = [], latest = 0, timer = 0;

// What there is to choose: { text, hint, run }.

function fromLinks(selector, hint) {
  return [...document.querySelectorAll(selector)].map((link) => ({ text: words(link), hint, run: () => link.click() }));
}

function acts() {
  return [...document.querySelectorAll("[data-acts] [data-act]")].map((button) => {
    const off = button.getAttribute("aria-disabled") === "true";
    return { text: words(button), hint: off ? button.title : "This session", off, run: () => button.click() };
  });
}

const here = () => [
  ...acts(),
  ...fromLinks(".tabs [data-tab]", "Part of this session"),
  ...fromLinks("header.top nav a", "Page"),
  ...keys().map(({ combination, meaning, action }) => ({ text: meaning, hint: combination, run: () => action(new Event("command")) })),
].filter(({ text }, index, all) => all.findIndex((other) => other.text === text) === index);

const words = (element) => element.textContent.trim().replace(/\s+/g, " ");

function matches({ text }, query) {
  const own = text.toLowerCase();
  return query.toLowerCase().split(/\s+/).every((word) => own.includes(word));
}

async function find(query) {
  const mine = ++latest;
  const url = new URL(dialog.dataset.find, location);
  url.searchParams.set("q", query);
  const response = await fetch(url, { headers: { Accept: "application/json" } }).catch(() => null);
  if (mine !== latest) return;
  const found = response?.ok ? (await response.json()).sessions : [];
  sessions = found.map(({ name, id, status, href }) => ({ text: name, hint: `${name === id ? "" : `${id} · `}${status}`, run: () => location.assign(href) }));
  show();
  if (!response?.ok) note.textContent = "Sessions cannot be looked up at present.";
}

// Showing

function show() {
  const query = field.value.trim();
  const found = [...sessions, ...here().filter((each) => matches(each, query))];
  const begins = ({ text }) => text.toLowerCase().startsWith(query.toLowerCase());
  shown = [...found.filter(begins), ...found.filter((each) => !begins(each))].slice(0, MOST);
  at = Math.min(at, Math.max(0, shown.length - 1));
  list.replaceChildren(...shown.map(option));
  note.textContent = shown.length ? `${shown.length} to choose from` : "Nothing is called that.";
  mark();
}

function option({ text, hint, off }, index) {
  const line = document.createElement("li");
  line.id = `command-${index}`;
  line.setAttribute("role", "option");
  if (off) line.setAttribute("aria-disabled", "true");
  const name = document.createElement("span");
  name.textContent = text;
  const small = document.createElement("small");
  small.textContent = hint;
  line.append(name, small);
  line.addEventListener("click", () => choose(index));
  return line;
}

function mark() {
  [...list.children].forEach((line, index) => { line.setAttribute("aria-selected", String(index === at)); });
  const chosen = list.children[at];
  chosen ? field.setAttribute("aria-activedescendant", chosen.id) : field.removeAttribute("aria-activedescendant");
  chosen?.scrollIntoView({ block: "nearest" });
}

function choose(index) {
  const chosen = shown[index];
  if (!chosen || chosen.off) return;
  dialog.close();
  chosen.run();
}

const MOVES = { ArrowDown: 1, ArrowUp: -1 };

function pressed(event) {
  if (event.key === "Enter") choose(at);
  else if (MOVES[event.key] && shown.length) at = (at + MOVES[event.key] + shown.length) % shown.length;
  else return;
  event.preventDefault();
  mark();
}

function typed() {
  at = 0;
  show();
  clearTimeout(timer);
  if (field.value.trim()) timer = setTimeout(() => find(field.value.trim()), TYPING);
  else sessions = [];
}

function open() {
  if (document.querySelector("dialog[open]")) return;
  sessions = [];
  at = 0;
  field.value = "";
  show();
  dialog.showModal();
  field.focus();
}

dialog = document.getElementById("commands");
if (dialog) {
  field = dialog.querySelector("input");
  list = dialog.querySelector("ul");
  note = dialog.querySelector("[data-note]");
  field.addEventListener("input", typed);
  field.addEventListener("keydown", pressed);
  dialog.addEventListener("click", ({ target }) => { if (target === dialog) dialog.close(); });
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return;
    event.preventDefault();
    dialog.open ? dialog.close() : open();
  });
  for (const button of document.querySelectorAll("[data-commands]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      button.closest("details")?.removeAttribute("open");
      open();
    });
  }
}
