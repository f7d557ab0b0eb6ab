// How wide the column beside the charts is: dragged, or by arrow keys on the line between them. The browser keeps
// it; theme.js has it there before the first paint. A double click, or Enter, takes the usual width.
const KEY = "marsys.side";
const USUAL = 360, LEAST = 280, MOST = 900, STEP = 24;
const line = document.getElementById("divider");
const side = line.nextElementSibling;

const most = () => Math.min(MOST, Math.round(line.parentElement.clientWidth * 0.6));
const kept = () => Number(localStorage.getItem(KEY)) || USUAL;
const bounded = (width) => Math.round(Math.min(most(), Math.max(LEAST, width)));

function show(width) {
  document.documentElement.style.setProperty("--side-width", `${width}px`);
  line.setAttribute("aria-valuemax", most());
  line.setAttribute("aria-valuenow", bounded(width));
}

function keep(width) {
  localStorage.setItem(KEY, bounded(width));
  show(bounded(width));
}

line.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  event.preventDefault();
  line.setPointerCapture(event.pointerId);
  const grip = side.getBoundingClientRect().left - event.clientX;
  const right = side.getBoundingClientRect().right;
  let wanted = 0;
  line.onpointermove = ({ clientX }) => {
    if (!wanted) requestAnimationFrame(() => { show(bounded(wanted)); wanted = 0; });
    wanted = right - clientX - grip;
  };
});
line.addEventListener("lostpointercapture", () => {
  line.onpointermove = null;
  keep(side.clientWidth);
});
line.addEventListener("dblclick", () => keep(USUAL));
line.addEventListener("keydown", (event) => {
  const to = { ArrowLeft: kept() + STEP, ArrowRight: kept() - STEP, Home: most(), End: LEAST, Enter: USUAL }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  keep(to);
});
show(kept());
