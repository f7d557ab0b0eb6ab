// Words, icons, durations, and the making safe of text that agents chose.

export const STATUSES = {
  pending: { icon: "◷", word: "pending" },
  running: { icon: "◐", word: "running" },
  waiting: { icon: "?", word: "waiting" },
  paused: { icon: "❚❚", word: "paused" },
  completed: { icon: "✓", word: "completed" },
  failed: { icon: "✕", word: "failed" },
  cancelled: { icon: "⊘", word: "cancelled" },
};

export const ENDED = new Set(["completed", "failed", "cancelled"]);

export function icon(status) {
  return STATUSES[status]?.icon ?? "·";
}

// On one line, without characters that no screen should act on.
export function clip(text, length = 120) {
  const characters = Array.from(String(text ?? "").replace(/[\u0000-\u001f\u007f\u202a-\u202e\u2066-\u2069]/g, " "));
  return characters.length <= length ? characters.join("") : `${characters.slice(0, length - 1).join("")}…`;
}

// Plotly reads a little HTML in every text that it draws; nothing of it may come from an agent.
export function safe(text, length = 120) {
  return clip(text, length).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/\$/g, "＄");
}

const two = (number) => String(number).padStart(2, "0");

export function duration(milliseconds) {
  if (milliseconds < 1000) return `${Math.max(0, Math.round(milliseconds))} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${two(Math.floor(seconds % 60))} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${two(Math.floor((seconds % 3600) / 60))} m`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

// As short as a box needs it: "17 ms", "4 m", "2 h 15 m".
export function brief(milliseconds) {
  if (milliseconds < 1000) return duration(milliseconds);
  if (milliseconds < 60000) return `${Math.floor(milliseconds / 1000)} s`;
  return milliseconds < 3600000 ? `${Math.floor(milliseconds / 60000)} m` : duration(milliseconds);
}

const THIN = "\u2009";
const thousands = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, THIN);

export function count(number, word) {
  return `${thousands(number)} ${word}${number === 1 ? "" : /(ch|x)$/.test(word) ? "es" : "s"}`;
}
