// Keyboard shortcuts. Ignored while somebody types, and where somebody switched them off; nothing acts without
// a dialog.
const KEYS = new Map();
const OFF = "keys-off";

// One key or "Shift+P" → what it does, in words, and the function.
export function key(combination, meaning, action) {
  KEYS.set(combination, { meaning, action });
}

// [{ combination, meaning, action }] of what can be pressed on this page.
export const keys = () => [...KEYS].map(([combination, { meaning, action }]) => ({ combination, meaning, action }));

const areOff = () => localStorage.getItem(OFF) !== null;

const isTyping = (target) => target.closest?.("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable='']");

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return "";
  return event.shiftKey && /^[a-z]$/i.test(event.key) ? `Shift+${event.key.toUpperCase()}` : event.key;
}

document.addEventListener("keydown", (event) => {
  if (areOff() || isTyping(event.target) || document.querySelector("dialog[open]")) return;
  const found = KEYS.get(pressed(event));
  if (!found) return;
  event.preventDefault();
  found.action(event);
});

function row({ 0: combination, 1: { meaning } }) {
  const line = document.createElement("div");
  const name = document.createElement("kbd");
  name.textContent = combination;
  line.append(name, meaning);
  return line;
}

function showKeys() {
  const dialog = document.createElement("dialog");
  dialog.className = "sheet keys";
  const title = document.createElement("h2");
  title.textContent = "Keyboard shortcuts";
  dialog.setAttribute("aria-label", title.textContent);
  dialog.append(title, ...[...KEYS].map(row), switchRow(), closeButton(dialog));
  dialog.addEventListener("click", ({ target }) => { if (target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function switchRow() {
  const label = document.createElement("label");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.checked = !areOff();
  box.addEventListener("change", () => { box.checked ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, "1"); });
  label.className = "keys-switch";
  label.append(box, "Shortcuts of one key are on. Ctrl+K always works.");
  return label;
}

function closeButton(dialog) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Close";
  button.addEventListener("click", () => dialog.close());
  return button;
}

key("?", "Show these shortcuts", showKeys);
for (const button of document.querySelectorAll("[data-keys]")) {
  button.hidden = false;
  button.addEventListener("click", showKeys);
}
