// Filters and views of the list: the form leaves out what is empty, the menus follow the address, a link is copied.
import { copyLink } from "./copy.js";

const DEFAULT_SORT = "-created_at";

// What is empty is not in the address; what is saved is what is shown now.
document.addEventListener("formdata", ({ target, formData }) => {
  if (target.matches(".view-form")) formData.set("query", location.search.slice(1));
  if (!target.matches(".filter-form")) return;
  for (const [name, value] of [...formData]) {
    if (!value.trim() || (name === "sort" && value === DEFAULT_SORT)) formData.delete(name);
  }
});

// The list changes its address without leaving the page, and the menus with it, unless somebody is in them.
document.addEventListener("list:shown", ({ detail: { page } }) => {
  const fresh = page.querySelectorAll("details.finding");
  document.querySelectorAll("details.finding").forEach((menu, index) => {
    if (!menu.open && fresh[index]) menu.replaceChildren(...fresh[index].childNodes);
  });
  showCopy();
});

function showCopy() {
  for (const button of document.querySelectorAll("[data-copy-link]")) button.hidden = false;
}

document.addEventListener("click", ({ target }) => {
  if (target.closest?.("[data-copy-link]")) copyLink(location.href, "The link is copied. It shows what you see, filters and sorting included.");
});
showCopy();
