// Who else looks at this session: "Bo is here".
const place = document.getElementById("presence");

function sentence(people, more) {
  const others = people.filter((name) => name !== place.dataset.me);
  if (more) others.push(`${more} more`);
  if (!others.length) return "";
  const last = others.pop();
  const names = others.length ? `${others.join(", ")} and ${last}` : last;
  return `${names} ${others.length || more > 1 ? "are" : "is"} here`;
}

document.addEventListener("state:presence", ({ detail: { people, more } }) => {
  const text = sentence(people, more);
  place.hidden = !text;
  if (place.textContent !== text) place.textContent = text;
});
