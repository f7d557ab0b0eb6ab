// Changes that wait for approval: looked at again when one comes or goes, and when the session moves on, since
// one that is there is overtaken then.
import { announce } from "../announce.js";
import { paced } from "../paced.js";
import { parse, refreshTimes } from "./fetching.js";

const holder = document.getElementById("proposals");
const PAUSE = 500, RETRY = 15_000; // ms

async function look() {
  const response = await fetch(holder.dataset.href, { headers: { "X-Fragment": "proposals" } }).catch(() => null);
  if (response?.redirected) return void location.reload();
  if (!response?.ok) return void setTimeout(lookSoon, RETRY);
  show(parse(await response.text()).firstElementChild);
}

// Nothing is replaced that is as it was: somebody may be about to press it.
function show(fresh) {
  const list = holder.firstElementChild;
  list.dataset.seen = fresh.dataset.seen;
  const known = new Map([...list.children].map((card) => [card.dataset.key, card]));
  for (const card of [...fresh.children]) {
    const present = known.get(card.dataset.key);
    known.delete(card.dataset.key);
    if (!present) add(list, card);
    else if (present.dataset.seq !== card.dataset.seq) replace(present, card);
  }
  for (const card of known.values()) card.remove();
  refreshTimes(list);
}

function add(list, card) {
  list.append(card);
  announce(card.querySelector("header p").textContent);
}

function replace(present, card) {
  const focused = present.contains(document.activeElement) && document.activeElement.dataset.act;
  present.replaceWith(card);
  if (focused) card.querySelector(`[data-act="${focused}"]`)?.focus();
}

const lookSoon = paced(look, PAUSE);
document.addEventListener("state:needs", ({ detail }) => detail.proposals !== holder.firstElementChild.dataset.seen && lookSoon());
document.addEventListener("state:frame", () => {
  const isTold = ({ dataset }) => dataset.seq === dataset.upto;
  if ([...holder.firstElementChild.children].some((card) => !isTold(card))) lookSoon();
});
