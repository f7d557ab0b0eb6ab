// Search inside the session: a tab of its own, further back on demand.
import { key } from "../keys.js";
import { panel, parse, refreshTimes } from "./fetching.js";
import { setQuery } from "./selection.js";

export function followSearch(holder, { load, show, report }) {
  const field = () => holder.querySelector("[name=q]");

  holder.addEventListener("submit", (event) => {
    event.preventDefault();
    setQuery({ tab: "search", q: field().value.trim() });
    load("search").then(() => field().focus()).catch(report);
  });
  holder.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-search-on]");
    if (button) searchOn(holder, button, field().value).catch(report);
  });
  key("/", "Search inside this session", async () => {
    setQuery({ tab: "search" });
    await show("search");
    field().select();
  });
}

async function searchOn(holder, button, text) {
  button.setAttribute("aria-busy", "true");
  const more = parse(await panel("search", { q: text, before: button.dataset.searchOn }));
  holder.querySelector(".hits").append(...more.querySelectorAll(".hit"));
  holder.querySelector("[role=status]").replaceWith(more.querySelector("[role=status]"));
  const next = more.querySelector("[data-search-on]");
  next ? button.replaceWith(next) : button.parentElement.remove();
  refreshTimes(holder);
}
