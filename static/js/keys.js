// Keyboard shortcuts. Ignored while somebody types; nothing acts without a dialog.
const KEYS = new Map();

// One key or "Shift+P" → what it does, in words, and the function.
export function key(combination, meaning, action) {
  KEYS.set(combination, { meaning, action });
}

const isTyping = (target) => target.closest?.("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable='']");

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return "";
  return event.shiftKey && /^[a-z]$/i.test(event.key) ? `Shift+${event.key.toUpperCase()}` : event.key;
}

document.addEventListener("keydown", (event) => {
  if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
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
  dialog.append(title, ...[...KEYS].map(row));
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

key("?", "Show these shortcuts", showKeys);
for (const button of document.querySelectorAll("[data-keys]")) {
  button.hidden = false;
  button.addEventListener("click", showKeys);
}
