// Panels of the page, as HTML from the server. A newer request for the same thing ends the older one.
import { toast } from "../toast.js";

const main = document.getElementById("main");
const underway = new Map();

export async function panel(name, query = {}, purpose = name) {
  underway.get(purpose)?.abort();
  const abort = new AbortController();
  underway.set(purpose, abort);
  const url = new URL(`${main.dataset.panels}${name}/`, location);
  if (main.dataset.at) url.searchParams.set("at", main.dataset.at);
  for (const [key, value] of Object.entries(query)) if (value) url.searchParams.set(key, value);
  const response = await fetch(url, { signal: abort.signal, headers: { "X-Fragment": "panel" } });
  if (response.redirected) location.reload();
  if (!response.ok) throw new Error(`The server answered ${response.status}.`);
  return response.text();
}

// A request that was overtaken is no failure.
export function unlessOvertaken(report) {
  return (error) => { if (error.name !== "AbortError") report(error); };
}

// In the place of what could not be loaded; what is there already stays, and a message says why it is old.
export function sayMissing(holder, error, again) {
  const words = `This part could not be loaded. ${error.message}`;
  if (holder.dataset.loaded) return toast(words, "error");
  const place = document.createElement("div");
  place.className = "empty";
  place.setAttribute("role", "alert");
  const said = document.createElement("p");
  said.textContent = words;
  const retry = document.createElement("button");
  retry.type = "button";
  retry.textContent = "Retry";
  retry.addEventListener("click", () => { holder.replaceChildren(); again(); });
  place.append(said, retry);
  holder.replaceChildren(place);
}

export function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}

// What is open and where somebody has scrolled to stay as they are, as far as the new content has the same.
export function put(holder, html) {
  const known = new Map([...holder.querySelectorAll("details[data-key]")].map((part) => [part.dataset.key, part.open]));
  const places = [...holder.querySelectorAll(".inspected, pre")].map((part) => part.scrollTop);
  holder.replaceChildren(parse(html));
  for (const part of holder.querySelectorAll("details[data-key]")) part.open = known.get(part.dataset.key) ?? part.open;
  [...holder.querySelectorAll(".inspected, pre")].forEach((part, index) => { part.scrollTop = places[index] ?? 0; });
}

export function refreshTimes(root) {
  document.dispatchEvent(new CustomEvent("time:refresh", { detail: { root } }));
}
