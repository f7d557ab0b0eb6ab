// Whether only what has not ended is shown: one switch of graph, timeline and steps. It lives in the address.
//
// Sends state:active { only }.
import { key } from "../keys.js";
import { setQuery } from "./selection.js";

let only = new URLSearchParams(location.search).get("active") === "1";

export const isActiveOnly = () => only;

export function showActiveOnly(wanted) {
  if (wanted === only) return;
  only = wanted;
  setQuery({ active: only ? "1" : "" });
  document.dispatchEvent(new CustomEvent("state:active", { detail: { only } }));
}

// The part of the page that is open has the switch, or has nothing that it could narrow.
key("a", "Show only what is active, or all", () => {
  [...document.querySelectorAll("[data-active-only]")].find((box) => box.checkVisibility())?.click();
});
