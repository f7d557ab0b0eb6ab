// The head of the page: status, facts, notes, title and favicon follow the log.
import { announce } from "../announce.js";
import { now, ticking } from "../time.js";
import { parse, refreshTimes } from "./fetching.js";

const main = document.getElementById("main");
const standing = document.getElementById("standing");
const ENDED = new Set(["completed", "failed", "cancelled"]);
const has = (list) => document.querySelectorAll(`[data-list="${list}"] > *`).length > 0;
let known = [main.dataset.status, has("questions"), has("checkpoints"), Number(main.dataset.restores)].join();

export function keepStanding(frame) {
  for (const fresh of parse(frame.header_html).querySelectorAll("[data-part]")) {
    const present = standing.querySelector(`[data-part="${fresh.dataset.part}"]`);
    if (!fresh.isEqualNode(present)) present.replaceWith(fresh);
  }
  refreshTimes(standing);
  const changed = main.dataset.status !== frame.status;
  main.dataset.status = frame.status;
  main.dataset.live = !ENDED.has(frame.status);
  if (changed) announce(`The session is ${frame.status}.`);
  tellActs(frame);
  mark(frame.status);
}

// What can be done depends on the status, and on whether there are questions and checkpoints.
function tellActs({ status, head }) {
  const acts = [status, head.counts.questions > 0, head.counts.checkpoints > 0, head.counts.restores].join();
  if (known !== acts) document.dispatchEvent(new CustomEvent("state:status", { detail: { state: "live", status } }));
  known = acts;
}

const COLOURS = {
  running: "#1a86e8", resuming: "#1a86e8", waiting: "#d98a00", interrupted: "#d98a00", pausing: "#8a4de0", paused: "#8a4de0",
  completed: "#1fa971", failed: "#d02b2b", cancelling: "#8a9199", cancelled: "#8a9199", pending: "#8a9199",
};

function mark(status) {
  const icon = document.querySelector('link[rel="icon"]');
  const colour = COLOURS[status] ?? COLOURS.pending;
  const picture = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path d="M8 1l7 7-7 7-7-7z" fill="${colour}"/></svg>`;
  const href = `data:image/svg+xml,${encodeURIComponent(picture)}`;
  if (icon && icon.getAttribute("href") !== href) icon.setAttribute("href", href);
}

mark(main.dataset.status);
document.addEventListener("state:peek", ({ detail }) => mark(detail.status));

// What is wrong

const trouble = document.getElementById("trouble");
const say = ({ detail }) => {
  trouble.textContent = detail.message;
  trouble.hidden = false;
};
document.addEventListener("state:trouble", say);
document.addEventListener("state:gone", say);
document.addEventListener("state:frame", () => { trouble.hidden = true; });

// Leases run down

function runDown() {
  if (document.hidden) return;
  for (const span of main.querySelectorAll("[data-until]")) {
    const left = (Date.parse(span.dataset.until) - now()) / 1000;
    const text = left > 0 ? ticking(left) : "ran out";
    if (span.textContent !== text) span.textContent = text;
  }
  for (const hint of main.querySelectorAll("[data-hint-since]")) hint.hidden = now() - Date.parse(hint.dataset.hintSince) < 5000;
}
setInterval(runDown, 500);
document.addEventListener("time:refresh", runDown);
runDown();
