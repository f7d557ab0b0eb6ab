// Moments, as whoever reads chose to have them: how long ago, by the clock here, or in UTC; with 24 hours or 12.
// By hand: the browser's first formatter of dates takes longer than all else that a page does before it is seen.
const CHOICES = { times: ["relative", "local", "utc"], hours: ["24", "12"] };
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const chosen = {};

const two = (n) => String(n).padStart(2, "0");
const keyOf = (name) => `marsys.${name}`;

function read() {
  for (const [name, values] of Object.entries(CHOICES)) {
    const value = localStorage.getItem(keyOf(name));
    chosen[name] = values.includes(value) ? value : values[0];
  }
}
read();

export const isRelative = () => chosen.times === "relative";
const isUtc = () => chosen.times === "utc";
export const hasTwelveHours = () => chosen.hours === "12";

// Milliseconds by which what is written is ahead of UTC at that moment.
export const offset = (at) => (isUtc() ? 0 : -new Date(at).getTimezoneOffset() * 60000);

// Year, month, day, hour, minute, second, as they are written.
function parts(at) {
  const shown = new Date(new Date(at).getTime() + offset(at));
  return {
    year: shown.getUTCFullYear(), month: MONTHS[shown.getUTCMonth()], day: shown.getUTCDate(),
    hour: shown.getUTCHours(), minute: two(shown.getUTCMinutes()), second: two(shown.getUTCSeconds()),
  };
}

function time({ hour, minute, second }, withSeconds) {
  const rest = withSeconds ? `:${minute}:${second}` : `:${minute}`;
  return hasTwelveHours() ? `${hour % 12 || 12}${rest} ${hour < 12 ? "am" : "pm"}` : `${two(hour)}${rest}`;
}

export const clock = (at) => time(parts(at), true);
export const minutes = (at) => time(parts(at), false);
export const day = (at) => `${parts(at).day} ${parts(at).month}`;
export const stamp = (at) => `${day(at)} ${parts(at).year}, ${clock(at)}${isUtc() ? " UTC" : ""}`;

// With the day, where it is not today's.
export function moment(at, today) {
  const written = `${clock(at)}${isUtc() ? " UTC" : ""}`;
  return day(at) === day(today) ? written : `${day(at)}, ${written}`;
}

// The choice

function choose(name, value) {
  localStorage.setItem(keyOf(name), value);
  changed();
}

function changed() {
  read();
  for (const select of document.querySelectorAll("[data-choice]")) select.value = chosen[select.dataset.choice];
  document.dispatchEvent(new CustomEvent("time:choice"));
}

for (const select of document.querySelectorAll("[data-choice]")) {
  select.value = chosen[select.dataset.choice];
  select.closest("[hidden]")?.removeAttribute("hidden");
  select.addEventListener("change", () => choose(select.dataset.choice, select.value));
}
addEventListener("storage", ({ key }) => { if (Object.keys(CHOICES).some((name) => keyOf(name) === key)) changed(); });
