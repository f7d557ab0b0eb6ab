// Choosing another place compares at once; the address carries both.
import { key } from "../keys.js";

const form = document.querySelector("[data-compare]");
form.addEventListener("change", () => form.requestSubmit());
key("s", "Swap the two places", () => form.querySelector("[data-swap]").click());
