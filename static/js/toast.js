// A line that says how something went. Text only: it may hold what an agent or a person wrote.
const STAYS = { success: 6000, error: 15000 };

export function toast(text, kind = "success") {
  const line = document.createElement("p");
  line.className = "toast";
  line.dataset.kind = kind;
  line.textContent = text;
  line.addEventListener("click", () => line.remove());
  document.getElementById("toasts").append(line);
  setTimeout(() => line.remove(), STAYS[kind] ?? STAYS.success);
}
