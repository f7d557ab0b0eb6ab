// A list of rows that the server rendered: rows come, change and go, while whoever reads keeps the place,
// the focus and what is open. Rows have a key and a place; lists are sorted by place.
import { parse, refreshTimes } from "./fetching.js";

export const MOST = 80; // rows kept in the page
const NEAR = 48; // pixels from the end that still count as being there

export class Rows {
  constructor(list) {
    this.list = list;
    this.scroller = list.closest(".scroller");
    this.unseen = 0;
    this.follows = true;
    this.detached = list.dataset.later !== undefined; // newer rows than the last one here were let go
    this.byKey = new Map([...list.children].map((row) => [row.dataset.key, row]));
    if (this.scroller) this.follow();
  }

  // What holds the list and the line that offers what was before it.
  get holder() {
    return this.scroller;
  }

  // Where "Jump to live" stands.
  get host() {
    return this.scroller?.parentElement;
  }

  get jumpWords() {
    return "Jump to live";
  }

  follow() {
    if (this.detached) this.sayUnseen(0);
    else this.settle();
    const found = this.scroller.dataset.found && this.list.querySelector(`:scope > [data-seq="${this.scroller.dataset.found}"]`);
    if (found) this.mark(found);
    this.scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
  }

  scrolled() {
    if (!this.scroller.isConnected || !this.atEnd) return;
    if (!this.detached) return this.sayUnseen(0);
    const seq = this.list.lastElementChild?.dataset.seq;
    if (seq && this.scroller.clientHeight && !this.asked) {
      this.asked = true;
      this.scroller.dispatchEvent(new CustomEvent("rows:later", { bubbles: true, detail: { seq } }));
    }
  }

  get atEnd() {
    const s = this.scroller;
    return !s || s.clientHeight === 0 || s.scrollHeight - s.scrollTop - s.clientHeight < NEAR;
  }

  // `omitted`: how many rows lie between those that are here and the newest of these.
  take(rows, omitted = 0) {
    this.follows = this.atEnd && !this.detached;
    if (omitted && this.follows) return this.begin(rows.slice(-MOST));
    let added = omitted && this.letGo() && omitted;
    for (const row of rows) added += this.put(row);
    if (added) this.follows ? this.settle() : this.sayUnseen(this.unseen + added);
    for (const { key } of rows) if (this.byKey.has(key)) refreshTimes(this.byKey.get(key));
  }

  // With these alone: what was here before them can be loaded again.
  begin(rows) {
    const ordered = this.sorted(rows.filter(({ html }) => html));
    this.byKey = new Map(ordered.map(({ key, html }) => [key, parse(html).firstElementChild]));
    this.list.replaceChildren(...this.byKey.values());
    this.settle();
    this.offerEarlier(ordered.length && Math.ceil(Math.min(...ordered.map(({ place }) => place))));
    refreshTimes(this.list);
  }

  sorted(rows) {
    return rows.toSorted((one, other) => one.place - other.place);
  }

  // 1 when a row is new.
  put({ key, place, html }) {
    const present = this.byKey.get(key);
    if (html === null) return this.remove(key, present);
    if (present) return this.change(key, present, html);
    if ((this.detached || this.isFull) && place > this.newestPlace) return this.letGo();
    const fresh = parse(html).firstElementChild;
    fresh.classList.add("is-new");
    this.insert(fresh, place);
    this.byKey.set(key, fresh);
    return 1;
  }

  remove(key, present) {
    present?.remove();
    this.byKey.delete(key);
    if (!this.list.firstElementChild) this.list.replaceChildren(); // what a template leaves between rows is no row
    return 0;
  }

  get isFull() {
    return this.scroller && this.byKey.size >= MOST && !this.follows;
  }

  get newestPlace() {
    return Number(this.list.lastElementChild?.dataset.place ?? 0);
  }

  letGo() {
    this.detached = true;
    return 1;
  }

  change(key, present, html) {
    const fresh = parse(html).firstElementChild;
    const unfolded = [...present.querySelectorAll("details")].map((details) => details.open);
    fresh.querySelectorAll("details").forEach((details, index) => { details.open = unfolded[index] ?? details.open; });
    if (fresh.isEqualNode(present)) return 0;
    const focus = focusIn(present);
    for (const name of ["is-selected"]) fresh.classList.toggle(name, present.classList.contains(name));
    present.replaceWith(fresh);
    this.byKey.set(key, fresh);
    fresh.querySelectorAll("a, button")[focus]?.focus({ preventScroll: true });
    return 0;
  }

  insert(fresh, place) {
    let after = this.list.lastElementChild;
    while (after && Number(after.dataset.place) > place) after = after.previousElementSibling;
    this.list.insertBefore(fresh, after ? after.nextElementSibling : this.list.firstElementChild);
  }

  // At the end: older rows may go, they can be loaded again.
  settle() {
    if (!this.scroller) return;
    while (this.byKey.size > MOST) {
      const oldest = this.list.firstElementChild;
      this.remove(oldest.dataset.key, oldest);
      this.offerEarlier(Math.ceil(Number(this.list.firstElementChild.dataset.place)));
    }
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  offerEarlier(before) {
    const line = this.holder.querySelector(".earlier");
    line.hidden = !before;
    line.querySelector("button").dataset.earlier = before || "";
  }

  // Rows of the window before, from a panel; what is read stays where it is.
  prepend(content) {
    const from = this.scroller.scrollHeight - this.scroller.scrollTop;
    const older = [...content.querySelector("[data-list]").children].filter((row) => !this.byKey.has(row.dataset.key));
    this.list.prepend(...older);
    for (const row of older) this.byKey.set(row.dataset.key, row);
    const line = content.querySelector(".earlier");
    this.offerEarlier(line.hidden ? 0 : Number(line.querySelector("button").dataset.earlier));
    this.scroller.scrollTop = this.scroller.scrollHeight - from;
    this.dropNewest();
  }

  dropNewest() {
    while (this.byKey.size > MOST) {
      const newest = this.list.lastElementChild;
      this.remove(newest.dataset.key, newest);
      this.detached = true;
    }
    if (this.detached) this.sayUnseen(this.unseen);
  }

  // "Jump to live"

  sayUnseen(count) {
    this.unseen = count;
    const { host } = this;
    if (!host) return;
    let jump = host.querySelector(":scope > .jump");
    if (!count && !this.detached) return void jump?.remove();
    if (!jump) {
      jump = document.createElement("button");
      jump.type = "button";
      jump.className = "jump";
      jump.addEventListener("click", () => this.jump());
      host.append(jump);
    }
    jump.textContent = count ? `${this.jumpWords} · ${count} new` : this.jumpWords;
  }

  // What somebody searched for.
  mark(row) {
    row.classList.add("is-found");
    this.show(row);
  }

  show(row) {
    this.scroller.scrollTop = row.offsetTop - this.scroller.clientHeight / 2;
  }

  jump() {
    if (this.detached) return this.list.dispatchEvent(new CustomEvent("rows:reload", { bubbles: true }));
    this.sayUnseen(0);
    this.settle();
  }
}

function focusIn(row) {
  return row.contains(document.activeElement) ? [...row.querySelectorAll("a, button")].indexOf(document.activeElement) : -1;
}
