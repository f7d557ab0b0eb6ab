// The newest page of activity keeps up while it is looked at; earlier pages stay as they are.
import { refresh } from "./time.js";

const place = document.getElementById("activity");
const AGAIN = 1500; // ms between two looks, however much happens
const READING = 1000; // while older sessions are still being read
let timer = 0, due = false;

function lookSoon(wait = AGAIN) {
  due = true;
  if (timer || document.hidden || !place.dataset.firstPage) return;
  timer = setTimeout(look, wait);
}

async function look() {
  due = false;
  const response = await fetch(location.href, { headers: { "X-Fragment": "activity" } }).catch(() => null);
  timer = 0;
  if (response?.redirected) return void location.reload();
  if (response?.ok) show(await response.text());
  if (due || place.querySelector("[data-behind]")) lookSoon(READING);
}

// Rows that stay are left alone, so that focus and selection do.
function show(html) {
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  const before = place.querySelector("tbody"), after = fresh.content.querySelector("tbody");
  if (!before || !after) place.replaceChildren(fresh.content);
  else {
    const known = new Map([...before.rows].map((row) => [row.dataset.entry, row]));
    after.replaceWith(before);
    before.replaceChildren(...[...after.rows].map((row) => known.get(row.dataset.entry) ?? row));
    place.replaceChildren(fresh.content);
  }
  refresh(place);
}

document.addEventListener("state:list", ({ detail }) => (detail.rows?.length || detail.gone?.length) && lookSoon());
document.addEventListener("visibilitychange", () => due && lookSoon());
if (place.querySelector("[data-behind]")) lookSoon(READING);
