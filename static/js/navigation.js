// The navigation: the present page's name is in view on a phone too, and the number beside "Needs you"
// follows on every page that has a live line.
document.querySelector(".top nav [aria-current]")?.scrollIntoView({ inline: "nearest", block: "nearest" });

const place = document.querySelector("[data-needs-count]");
const number = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f");

document.addEventListener("state:needs", ({ detail: { count, more } }) => {
  if (!place) return;
  place.textContent = `${number(count)}${more ? "+" : ""}`;
  place.hidden = !count;
  place.title = `${place.textContent} open ${count === 1 ? "question" : "questions"}`;
});
