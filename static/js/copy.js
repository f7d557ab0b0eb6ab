// Copying links: a[data-copy="message"] copies where it leads instead of going there; with Ctrl it goes.
import { toast } from "./toast.js";

export async function copyLink(address, told, say = toast) {
  try {
    await write(address);
    say(told);
  } catch {
    say(`The browser does not allow it. Copy it from here: ${address}`, "error");
  }
}

// Only pages that come by TLS, or from this machine, have the clipboard; the others select and copy.
async function write(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.createElement("textarea");
  field.className = "sr";
  field.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  if (!isCopied) throw new Error("It was not copied.");
}

// What stands behind an open dialog is neither seen well nor read out.
function sayIn(dialog) {
  const place = dialog?.querySelector("[data-copied]");
  return place ? (words) => { place.textContent = words; } : toast;
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-copy]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const url = new URL(link.href);
  const { at } = document.getElementById("main").dataset;
  if (at) url.searchParams.set("at", at);
  copyLink(url.href, `The link to this ${link.dataset.copy} is copied.`, sayIn(link.closest("dialog")));
});

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("button[data-copy-from]");
  if (button) copyLink(document.getElementById(button.dataset.copyFrom).value, button.dataset.told);
});
