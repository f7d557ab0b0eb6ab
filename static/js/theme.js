// A classic script in <head>, so that the chosen theme and width are there before the first paint.
(() => {
  const root = document.documentElement;
  const KEY = "marsys.theme";
  const NEXT = { system: "light", light: "dark", dark: "system" };
  const SAID = { system: "as the system", light: "light", dark: "dark" };
  const system = matchMedia("(prefers-color-scheme: dark)");

  const stored = () => {
    const value = localStorage.getItem(KEY);
    return value in NEXT ? value : "system";
  };
  const resolved = (choice) => (choice === "system" ? (system.matches ? "dark" : "light") : choice);

  function apply(choice) {
    const theme = resolved(choice);
    root.style.colorScheme = theme;
    if (root.dataset.theme === theme) return;
    root.dataset.theme = theme;
    document.dispatchEvent(new CustomEvent("theme:change", { detail: { theme } }));
  }

  function label(button, choice) {
    button.hidden = false;
    button.title = `Theme: ${SAID[choice]}`;
    button.dataset.choice = choice;
  }

  apply(stored());
  const side = Number(localStorage.getItem("marsys.side"));
  if (side) root.style.setProperty("--side-width", `${side}px`);
  system.addEventListener("change", () => apply(stored()));
  addEventListener("storage", (event) => event.key === KEY && apply(stored()));
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme-toggle");
    if (!button) return;
    label(button, stored());
    button.addEventListener("click", () => {
      const choice = NEXT[stored()];
      localStorage.setItem(KEY, choice);
      apply(choice);
      label(button, choice);
    });
  });
})();
