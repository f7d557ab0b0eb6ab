// A line that says how something went. Text only: it may hold what an agent or a person wrote.
const STAYS = { success: 6000, error: 15000 };

// link: {href, text}, where more is to be seen.
export function toast(text, kind = "success", link = null) {
  const line = document.createElement("p");
  line.className = "toast";
  line.dataset.kind = kind;
  line.append(text);
  if (link) line.append(" ", anchor(link));
  line.addEventListener("click", () => line.remove());
  document.getElementById("toasts").append(line);
  setTimeout(() => line.remove(), STAYS[kind] ?? STAYS.success);
}

function anchor({ href, text }) {
  const made = document.createElement("a");
  made.href = href;
  made.textContent = text;
  return made;
}
