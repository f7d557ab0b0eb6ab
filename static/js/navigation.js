// The navigation: the present page's name, and that of a tab, is in view on a phone too, and the number beside "Needs you"
// follows where the page has a live line, and is asked for once where it has none.
const bars = document.querySelectorAll(".top nav, .tabs");

function showCurrent(bar) {
  const { offsetLeft, offsetWidth } = bar.querySelector("[aria-current]") ?? bar;
  bar.scrollLeft = offsetLeft + offsetWidth / 2 - bar.offsetLeft - bar.clientWidth / 2;
}

// What comes beside a bar later takes room from it.
const resized = new ResizeObserver((entries) => { for (const { target } of entries) showCurrent(target); });
for (const bar of bars) resized.observe(bar);

const place = document.querySelector("[data-needs-count]");
const number = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f");

function showCount({ count, more }) {
  place.textContent = `${number(count)}${more ? "+" : ""}`;
  place.hidden = !count;
  place.title = `${place.textContent} ${count === 1 ? "waits" : "wait"} for an answer or an approval`;
}

if (place) document.addEventListener("state:needs", ({ detail }) => showCount(detail));
if (place && !document.body.dataset.socket) {
  const answer = await fetch(place.dataset.needsCount, { headers: { Accept: "application/json" } }).catch(() => null);
  if (answer?.ok) showCount(await answer.json());
}
