// The two lists of checkpoints, beside the charts and as a tab. There may be very many: they show those around one
// that somebody picked elsewhere, or that the address names.
const LISTS = ["aside", "checkpoints"];
const page = document.querySelector(".session");
let wanted = new URLSearchParams(location.search).get("checkpoint") ?? "";

export const wantedCheckpoint = () => wanted;

export function wantNoCheckpoint() {
  wanted = "";
}

export function followCheckpoints(holderOf, load) {
  document.addEventListener("state:checkpoint", async ({ detail }) => {
    wanted = detail.id ?? "";
    mark(detail);
    const lacking = detail.id ? LISTS.filter((name) => isLacking(holderOf(name), detail.id)) : [];
    await Promise.all(lacking.map(load));
    if (lacking.length) mark(detail);
  });
  if (wanted) mark({ id: wanted, by: "address" });
}

function isLacking(holder, id) {
  const list = holder.querySelector("[data-list]");
  return list && !list.querySelector(`[data-checkpoint-id="${CSS.escape(id)}"]`);
}

function mark({ id, by }) {
  for (const item of page.querySelectorAll(".checkpoint")) {
    const is = item.dataset.checkpointId === id;
    item.classList.toggle("is-selected", is);
    item.querySelector("[data-pick]").setAttribute("aria-expanded", is);
    if (is && by !== "page") item.scrollIntoView({ block: "nearest" });
  }
}
