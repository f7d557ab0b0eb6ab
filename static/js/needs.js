// The inbox: answered in place, and kept as it is by what happens elsewhere. What somebody is typing into is
// never replaced; a question that somebody else answered says so, and the text stays where it is.
import "./copy.js";
import { firstProblem, showProblem } from "./dialogs.js";
import { key } from "./keys.js";
import { refresh as refreshTimes } from "./time.js";
import { toast } from "./toast.js";

const inbox = document.getElementById("inbox");
const AGAIN = 800; // ms between two looks, however much happens
const LEAVING = 1500;
const LEFT = new Set(["interrupted", "failed", "resuming"]);

// Answering

inbox.addEventListener("submit", (event) => {
  const form = event.target.closest("[data-answer]");
  if (!form) return;
  event.preventDefault();
  if (form.dataset.busy) return;
  const found = firstProblem(form);
  showProblem(form, found?.problem ?? "", found?.field);
  if (!found) send(form, event.submitter);
});

async function send(form, button) {
  form.dataset.busy = "1";
  button?.setAttribute("aria-busy", "true");
  try {
    const data = new FormData(form, button?.name ? button : null);
    const response = await fetch(form.action, {
      method: "POST",
      body: new URLSearchParams(data),
      headers: { Accept: "application/json" },
    });
    answered(form, response.status, await response.json());
  } catch {
    showProblem(form, "The server could not be reached, or its answer not be read. It is not known whether this was recorded; your answer stays here.");
  } finally {
    delete form.dataset.busy;
    button?.removeAttribute("aria-busy");
  }
}

function answered(form, status, answer) {
  const card = form.closest("[data-key]");
  if (answer.ok) return finish(card, "Your answer is recorded.");
  showProblem(form, answer.error);
  if (status === 409 || status === 404) close(card);
}

function finish(card, words) {
  toast(words);
  focusBeside(card);
  card.remove();
  count();
  lookSoon();
}

// Nothing more can be sent from it, and nothing typed is lost.
function close(card) {
  card.dataset.closed = "1";
  card.classList.add("is-answered");
  for (const button of card.querySelectorAll("form button")) button.disabled = true;
}

function focusBeside(card) {
  if (!card.contains(document.activeElement)) return;
  const next = card.nextElementSibling ?? card.previousElementSibling;
  const target = next?.querySelector("form button, form textarea, form input:not([type=hidden])") ?? document.getElementById("main");
  target.focus({ preventScroll: true });
}

// Keys: from card to card, into the field or on the button that comes first.

function move(step) {
  const cards = [...inbox.querySelectorAll("[data-inbox] > [data-key]")];
  const at = cards.findIndex((card) => card.contains(document.activeElement));
  const card = cards[at === -1 ? (step > 0 ? 0 : cards.length - 1) : Math.min(cards.length - 1, Math.max(0, at + step))];
  const target = card?.querySelector("form button, .acts button, a");
  target?.focus();
  card?.scrollIntoView({ block: "nearest" });
}

key("j", "Next that waits", () => move(1));
key("k", "Previous that waits", () => move(-1));

// What was said before a question, when somebody asks for it

inbox.addEventListener("toggle", async ({ target }) => {
  if (!target.open || !target.dataset.context || target.dataset.loaded) return;
  target.dataset.loaded = "1";
  const place = target.querySelector("[data-context-body]");
  const response = await fetch(target.dataset.context).catch(() => null);
  if (response?.ok) {
    place.innerHTML = await response.text();
    leadToSession(place, new URL("../../", response.url));
  } else {
    place.textContent = "It could not be loaded. Close and open this to try again.";
    delete target.dataset.loaded;
  }
  refreshTimes(place);
}, true);

// Its links are those of the session's page.
function leadToSession(place, session) {
  for (const link of place.querySelectorAll('a[href^="?"]')) link.href = new URL(link.getAttribute("href"), session);
}

// Keeping up

let timer = 0, lookedAt = 0, due = false;

function lookSoon() {
  due = true;
  if (document.hidden || timer) return;
  timer = setTimeout(look, Math.max(0, lookedAt + AGAIN - Date.now()));
}

async function look() {
  lookedAt = Date.now();
  due = false;
  const response = await fetch(inbox.dataset.href, { headers: { "X-Fragment": "inbox" } }).catch(() => null);
  timer = 0;
  if (response?.redirected) return void location.reload();
  if (response?.ok) merge(await response.text());
  if (due) lookSoon();
}

function merge(html) {
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  for (const list of inbox.querySelectorAll("[data-inbox]")) {
    mergeList(list, fresh.content.querySelector(`[data-inbox="${list.dataset.inbox}"]`));
  }
  for (const name of ["h2", ".banner"]) replaceAround(name, fresh.content);
  count();
  refreshTimes(inbox);
}

function mergeList(list, fresh) {
  const known = new Map([...list.children].map((card) => [card.dataset.key, card]));
  const wanted = [...fresh.children];
  const keys = new Set(wanted.map((card) => card.dataset.key));
  for (const [key, card] of known) if (!keys.has(key)) leave(card);
  let before = list.firstElementChild;
  for (const card of wanted) {
    const present = known.get(card.dataset.key);
    const kept = present && present.dataset.seq === card.dataset.seq ? present : card;
    if (present && kept !== present) present.replaceWith(card);
    else if (!present) list.insertBefore(card, before);
    before = kept.nextElementSibling;
  }
}

// A card that is gone elsewhere: it goes, unless somebody has typed into it.
function leave(card) {
  if (card.dataset.closed || card.dataset.leaving) return;
  const isTyped = [...card.querySelectorAll("textarea, input:not([type=hidden])")].some((field) => field.value !== field.defaultValue);
  if (isTyped) {
    showProblem(card.querySelector("form"), "This question is open no more: somebody answered it, or its session ended. Your text was not sent.");
    return close(card);
  }
  card.dataset.leaving = "1";
  card.classList.add("is-answered");
  focusBeside(card);
  setTimeout(() => {
    card.remove();
    count();
  }, LEAVING);
}

function replaceAround(selector, fresh) {
  const present = [...inbox.querySelectorAll(`:scope > ${selector}, section > ${selector}`)];
  const wanted = [...fresh.querySelectorAll(`:scope > ${selector}, section > ${selector}`)];
  if (present.length !== wanted.length) {
    if (selector === ".banner") {
      for (const banner of present) banner.remove();
      inbox.prepend(...wanted);
    }
    return;
  }
  present.forEach((element, index) => element.isEqualNode(wanted[index]) || element.replaceChildren(...wanted[index].childNodes));
}

function count() {
  for (const list of inbox.querySelectorAll("[data-inbox]")) {
    list.parentElement.querySelector("[data-empty]").hidden = list.children.length > 0;
  }
}

const isShown = (store, id) => inbox.querySelector(`[data-store="${CSS.escape(store)}"][data-session-id="${CSS.escape(id)}"]`);
const asks = (html) => !/data-questions="0"/.test(html);

document.addEventListener("state:list", ({ detail }) => {
  const rows = detail.rows ?? [];
  const isNews = detail.snapshot || (detail.gone ?? []).some(({ store, id }) => isShown(store, id))
    || rows.some((row) => LEFT.has(row.status) || asks(row.html) || isShown(row.store, row.id));
  if (isNews) lookSoon();
});
document.addEventListener("state:needs", lookSoon);
document.addEventListener("visibilitychange", () => due && lookSoon());
