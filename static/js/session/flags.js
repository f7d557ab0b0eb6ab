// Branches that seem stuck or go in circles. The server knows the rules; it is asked after something happened,
// and at the moment at which a branch will have been silent for too long: a page that rests asks nothing.
import { now } from "../time.js";
import { panel, parse, unlessOvertaken } from "./fetching.js";

const AFTER_EVENTS = 5000;
const RETRY = 15_000;
const LONGEST = 2 ** 31 - 1;
const holder = document.getElementById("flags");
const main = document.getElementById("main");
let soon = 0;
let due = 0;

async function load() {
  clearTimeout(due);
  soon = 0;
  if (document.hidden) return;
  show(await panel("flags"));
}

const failed = unlessOvertaken(() => { due = setTimeout(ask, RETRY); });
const ask = () => load().catch(failed);

// What is there stays there, with other words: somebody may be about to press it.
function update(list, fresh) {
  const keyOf = ({ dataset }) => `${dataset.rule} ${dataset.branchId}`;
  const present = new Map([...list.children].map((flag) => [keyOf(flag), flag]));
  for (const flag of [...fresh.children]) {
    const known = present.get(keyOf(flag));
    if (!known) list.append(flag);
    else if (!known.isEqualNode(flag)) known.querySelector(".words").textContent = flag.querySelector(".words").textContent;
    present.delete(keyOf(flag));
  }
  for (const gone of present.values()) gone.remove();
}

function show(html) {
  const fresh = parse(html).firstElementChild;
  const list = holder.firstElementChild;
  list ? update(list, fresh) : holder.append(fresh);
  const flags = [...holder.querySelectorAll('.flag:not([data-branch-id=""])')];
  const shown = flags.map((flag) => [flag.dataset.branchId, flag.querySelector(".words").textContent]);
  const branches = new Map([...shown, ...JSON.parse(fresh.dataset.more)]);
  document.dispatchEvent(new CustomEvent("state:flags", { detail: { branches } }));
  const at = Date.parse(fresh.dataset.due);
  if (!Number.isNaN(at)) due = setTimeout(ask, Math.min(LONGEST, Math.max(1000, at - now() + 100)));
}

function askSoon() {
  if (!soon) soon = setTimeout(ask, AFTER_EVENTS);
}
document.addEventListener("state:frame", askSoon);
document.addEventListener("state:reset", askSoon);
document.addEventListener("travel:moved", ({ detail }) => detail.until(ask()));
document.addEventListener("visibilitychange", () => { if (!document.hidden && main.dataset.live === "true") askSoon(); });
if (main.dataset.live === "true") addEventListener("load", ask);
