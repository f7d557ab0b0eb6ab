// A job's page, and the list of jobs, follow what is at work; nothing is asked once it has ended.
import { refresh } from "./time.js";

const job = document.getElementById("job");
const EVERY = 700;
const isAtWork = () => job.querySelector("[data-at-work]").dataset.atWork === "1";
let failures = 0;

async function look() {
  if (!document.hidden) await update();
  if (isAtWork()) setTimeout(look, Math.min(8000, EVERY * 2 ** failures));
}

async function update() {
  const response = await fetch(location.href, { headers: { "X-Fragment": "job" } }).catch(() => null);
  if (response?.redirected) return void location.reload();
  failures = response?.ok ? 0 : failures + 1;
  if (!response?.ok || job.contains(document.activeElement) && document.activeElement.matches("a[href]:not(.chip)")) return;
  const focused = document.activeElement.closest?.("#job form")?.getAttribute("action");
  job.innerHTML = await response.text();
  refresh(job);
  if (focused) job.querySelector(`form[action="${CSS.escape(focused)}"] button`)?.focus();
}

if (isAtWork()) setTimeout(look, EVERY);
