// Travel in time: a bar over the log. While an event of the past is looked at, what happens live is counted
// and shown to nobody; panels and charts are asked for as of that event. The address carries it.
//
// Sends travel:moved { at, until(promise) }: at is null for the present; whoever loads something says until when.
import { key } from "../keys.js";
import { toast } from "../toast.js";
import { panel, parse, refreshTimes, unlessOvertaken } from "./fetching.js";
import { Replay } from "./replay.js";
import { setQuery } from "./selection.js";

const main = document.getElementById("main");
const bar = document.getElementById("travel");
const THIN = "\u202f";
const number = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, THIN);
const report = unlessOvertaken((error) => toast(`This event could not be loaded. ${error.message}`, "error"));

const place = {
  at: Number(main.dataset.at) || null,
  now: Number(bar.dataset.now),
  loading: false,
  again: false,
};

export const here = () => place.at ?? place.now;

// What is live. This module is there before those that show it.

document.addEventListener("state:frame", (event) => {
  place.now = Math.max(place.now, event.detail.last ?? event.detail.seq);
  showPlace();
  if (place.at === null) return;
  event.stopImmediatePropagation();
  document.dispatchEvent(new CustomEvent("state:status", { detail: { state: "live", status: event.detail.status } }));
});
document.addEventListener("state:reset", (event) => { if (place.at !== null) event.stopImmediatePropagation(); });

// Going there

export function go(at, { keep = true } = {}) {
  place.at = at === null ? null : Math.min(Math.max(Math.round(at), Number(bar.dataset.first)), place.now);
  if (place.at === null) {
    delete main.dataset.at;
    delete main.dataset.atTime;
  } else main.dataset.at = place.at;
  if (keep) setQuery({ at: place.at });
  showPlace();
  return load();
}

// The newest place is loaded when the one before has been: dragging asks for no more than can be shown.
async function load() {
  if (place.loading) {
    place.again = true;
    return;
  }
  place.loading = true;
  do {
    place.again = false;
    const parts = [showParts()];
    document.dispatchEvent(new CustomEvent("travel:moved", { detail: { at: place.at, until: (part) => parts.push(part) } }));
    await Promise.all(parts);
  } while (place.again);
  place.loading = false;
}

async function showParts() {
  try {
    const [banner, standing, questions] = await Promise.all(["travel", "standing", "questions"].map((name) => panel(name)));
    put(bar.querySelector("[data-place]"), banner);
    put(document.getElementById("standing"), standing);
    put(document.getElementById("questions"), questions);
    const past = bar.querySelector(".past");
    if (past) main.dataset.atTime = past.dataset.atTime;
    main.dataset.status = document.querySelector("#standing .status").dataset.status;
    refreshTimes(document);
  } catch (error) {
    report(error);
  }
}

function put(holder, html) {
  const focused = holder.contains(document.activeElement) && document.activeElement.textContent;
  holder.replaceChildren(parse(html));
  if (focused) [...holder.querySelectorAll("a, button")].find((one) => one.textContent === focused)?.focus();
}

// The bar

function showPlace() {
  const range = bar.querySelector("[type=range]");
  bar.hidden = place.now === Number(bar.dataset.first);
  bar.querySelector(".places").style.setProperty("--span", Math.max(1, place.now - Number(bar.dataset.first)));
  range.max = place.now;
  range.value = here();
  bar.querySelector("[data-here]").textContent = `Event ${place.at === null ? "" : `${number(place.at)} / `}${number(place.now)}`;
  range.setAttribute("aria-valuetext", place.at === null ? `The present, event ${place.now}` : `Event ${place.at} of ${place.now}`);
  const of = bar.querySelector("[data-of]");
  if (of) of.textContent = number(place.now);
  bar.classList.toggle("is-past", place.at !== null);
}

// Those that the server named, of very many some, and those that are in the list.
function showCheckpoints() {
  const first = Number(bar.dataset.first);
  const listed = [...document.querySelectorAll("#checkpoints [data-checkpoint-id]")].map((item) => item.dataset.place);
  const marks = [...new Set([...bar.dataset.marks.split(" ").filter(Boolean), ...listed])].map((seq) => {
    const mark = document.createElement("span");
    mark.style.setProperty("--seq", seq - first);
    return mark;
  });
  bar.querySelector(".places").replaceChildren(...marks);
}

// One step after the other, however fast the key is pressed.
let stepped = Promise.resolve();
const step = (direction) => { stepped = stepped.then(() => stepOnce(direction)).catch(report); };

// Behind the last checkpoint is the present.
async function stepOnce(direction) {
  const response = await fetch(`${bar.dataset.nearest}?to=${here()}`);
  if (!response.ok) throw new Error(`The server answered ${response.status}.`);
  const next = (await response.json())[direction > 0 ? "next" : "previous"];
  if (!next) return direction > 0 && place.at !== null ? leave() : toast(direction > 0 ? "There is no later checkpoint." : "There is no earlier checkpoint.");
  document.dispatchEvent(new CustomEvent("state:checkpoint", { detail: { id: next.id, by: "travel" } }));
  go(next.seq);
}

function leave() {
  replay.stop();
  return go(null);
}

// Clicks and keys

const replay = new Replay({
  here,
  end: () => place.now,
  first: () => Number(bar.dataset.first),
  go: (at, last) => go(at, { keep: last }),
  moments: () => fetch(bar.dataset.moments).then((response) => response.json()),
  onChange: (playing) => {
    const button = bar.querySelector("[data-play]");
    button.setAttribute("aria-pressed", playing);
    button.setAttribute("aria-label", playing ? "Pause the replay" : "Replay");
    button.title = button.getAttribute("aria-label");
    button.textContent = playing ? "❚❚" : "▶";
  },
  failed: report,
});

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("[data-travel], [data-back-to-live]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  replay.stop();
  go(link.dataset.travel ? Number(link.dataset.travel) : null);
});

const range = bar.querySelector("[type=range]");
range.addEventListener("input", () => {
  replay.stop();
  go(Number(range.value), { keep: false });
});
range.addEventListener("change", () => setQuery({ at: place.at }));
range.addEventListener("keydown", (event) => {
  const turn = { "[": -1, "]": 1 }[event.key];
  if (turn) step(turn);
  if (event.key === "Escape") leave();
});
bar.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
for (const button of bar.querySelectorAll("[data-go]")) button.addEventListener("click", () => step(button.dataset.go === "next" ? 1 : -1));
bar.querySelector("[data-play]").addEventListener("click", () => replay.toggle(bar.querySelector("[data-speed]").value));
bar.querySelector("[data-speed]").addEventListener("change", (event) => replay.change(event.target.value));
key("[", "Look at the previous checkpoint", () => step(-1));
key("]", "Look at the next checkpoint, then the present", () => step(1));
key(",", "Look at the event before", () => go(here() - 1));
key(".", "Look at the event after", () => place.at !== null && (place.at < place.now ? go(place.at + 1) : leave()));
new MutationObserver(showCheckpoints).observe(document.querySelector("#checkpoints"), { childList: true, subtree: true });
showCheckpoints();
showPlace();
