// What an edit of a JSON object changes, name by name, while it is typed: [data-difference] is the editor,
// [data-present] beside it what stood there, [data-changes] where the difference is told.
const SHORT = 160;

const entries = (text) => {
  try {
    const value = JSON.parse(text);
    return value && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null; // dialogs.js says what is wrong with it
  }
};

// Of the same JSON, whatever the order of its names.
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical)}]`;
  if (!value || typeof value !== "object") return JSON.stringify(value);
  return `{${Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`)}}`;
}

export function changes(before, after) {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  return names.flatMap((name) => {
    const was = Object.hasOwn(before, name), is = Object.hasOwn(after, name);
    if (was && is && canonical(before[name]) === canonical(after[name])) return [];
    return [{ name, kind: !was ? "added" : !is ? "removed" : "changed", before: before[name], after: after[name] }];
  });
}

const shown = (value) => {
  const text = JSON.stringify(value);
  return text.length > SHORT ? `${text.slice(0, SHORT)}…` : text;
};

function line({ name, kind, before, after }) {
  const item = document.createElement("li");
  item.dataset.kind = kind;
  const label = document.createElement("b");
  label.textContent = `${name} is ${kind}`;
  item.append(label);
  if (kind !== "added") item.append(cell("del", before));
  if (kind !== "removed") item.append(cell("ins", after));
  return item;
}

function cell(tag, value) {
  const element = document.createElement(tag);
  element.textContent = shown(value);
  return element;
}

export function showDifference(editor) {
  const field = editor.closest(".field");
  const before = entries(field.querySelector("[data-present]").value), after = entries(editor.value);
  const place = field.querySelector("[data-changes]");
  if (!before || !after) return void place.replaceChildren("Not a JSON object yet.");
  const found = changes(before, after);
  if (!found.length) return void place.replaceChildren("Nothing is changed.");
  const list = document.createElement("ul");
  list.append(...found.map(line));
  place.replaceChildren(list);
}

document.addEventListener("input", ({ target }) => target.matches?.("[data-difference]") && showDifference(target));
document.addEventListener("toggle", ({ target }) => {
  const editor = target.open && target.querySelector?.("[data-difference]");
  if (editor) showDifference(editor);
}, true);
