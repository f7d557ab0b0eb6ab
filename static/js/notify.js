// Notifications of the desktop, for whoever wants them: a person is asked, or the session of this page stopped or ended.
// Only by tabs that nobody looks at; of several that say the same the desktop shows one.
import { toast } from "./toast.js";

const WANTED = "marsys.notify";
const REFUSED = "The browser does not allow notifications of this page. Allow them in its settings for this site, which must be reached over https or be on this machine.";
const STOPPED = new Set(["waiting", "paused", "interrupted", "completed", "failed", "cancelled"]);

const box = document.querySelector("[data-notify]");
const main = document.getElementById("main");
const count = document.querySelector("[data-needs-count]");
const isOn = () => localStorage.getItem(WANTED) !== null && Notification.permission === "granted";

async function choose() {
  if (!box.checked) return localStorage.removeItem(WANTED);
  if (await Notification.requestPermission() === "granted") return localStorage.setItem(WANTED, "1");
  box.checked = false;
  toast(REFUSED, "error");
}

function notify(title, body, tag, href = "") {
  if (!isOn() || !document.hidden) return;
  const shown = new Notification(title, { body, tag });
  shown.addEventListener("click", () => {
    window.focus();
    shown.close();
    if (href) location.assign(href);
  });
}

// Questions, and changes that wait for approval

let asked = Number(count?.textContent.replace(/\D/g, "") ?? 0);

function tellOfQuestions({ detail }) {
  if (detail.count > asked) notify("A person is asked", `${detail.count} ${detail.count === 1 ? "waits" : "wait"} for an answer or an approval`, WANTED, count.parentElement.href);
  asked = detail.count;
}

// The session of this page

let status = main.dataset.status;

function tellOfSession({ detail }) {
  if (detail.status !== status && STOPPED.has(detail.status)) {
    const { store, sessionId } = main.dataset;
    notify(main.querySelector("h1").textContent, `It is ${detail.status}.`, `${WANTED}.${store}/${sessionId}`);
  }
  status = detail.status;
}

if (box && "Notification" in window) {
  box.checked = isOn();
  box.closest("[hidden]").hidden = false;
  box.addEventListener("change", choose);
  document.addEventListener("state:needs", tellOfQuestions);
  document.addEventListener("state:peek", tellOfSession);
  document.addEventListener("visibilitychange", () => { status = main.dataset.status; });
}
