// What is selected: a branch, a step in it, or nothing. It lives in the address, and everything follows it.
// Anybody may dispatch state:select {branch, step} on document.
const query = () => new URLSearchParams(location.search);

export const selection = { branch: query().get("branch") ?? "", step: query().get("step") ?? "" };

export function setQuery(values) {
  const changed = query();
  for (const [name, value] of Object.entries(values)) value ? changed.set(name, value) : changed.delete(name);
  const text = changed.toString();
  history.replaceState(history.state, "", text ? `?${text}` : location.pathname);
}

export function select(branch = "", step = "", by = "page") {
  document.dispatchEvent(new CustomEvent("state:select", { detail: { branch: branch || null, step: step || null, by } }));
}

export function onSelect(follow) {
  document.addEventListener("state:select", ({ detail }) => {
    const branch = detail.branch ?? "", step = detail.step ?? "";
    if (branch === selection.branch && step === selection.step) return;
    const before = { ...selection };
    Object.assign(selection, { branch, step });
    setQuery(selection);
    follow(before, detail.by);
  });
}
