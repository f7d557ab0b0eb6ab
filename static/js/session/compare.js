// Choosing another place, or another session, compares at once; the address carries them.
import { key } from "../keys.js";

const form = document.querySelector("[data-compare]");

form.addEventListener("change", ({ target }) => {
  // Places of the session that was there before are none of the other's.
  if (target.name === "with") form.elements.b.value = "now";
  form.requestSubmit();
});
key("s", "Swap the two places", () => form.querySelector("[data-swap]").click());
