// A list with the newest row on top. Rows come there; at the other end they go, and can be loaded again.
import { MOST, Rows } from "./rows.js";

export class NewestFirst extends Rows {
  constructor(list) {
    super(list);
    if (this.detached) this.sayUnseen(0);
  }

  get holder() {
    return this.list.parentElement;
  }

  get host() {
    return this.list.parentElement;
  }

  get jumpWords() {
    return "Newest checkpoints";
  }

  get atEnd() {
    return true;
  }

  get newestPlace() {
    return Number(this.list.firstElementChild?.dataset.place ?? 0);
  }

  get oldestPlace() {
    return Number(this.list.lastElementChild?.dataset.place ?? 0);
  }

  get hasEarlier() {
    return !this.holder.querySelector(".earlier").hidden;
  }

  // What is older than all that is here comes with them when it is asked for.
  put(row) {
    const isNew = row.html !== null && !this.byKey.has(row.key);
    return isNew && this.hasEarlier && row.place < this.oldestPlace ? 0 : super.put(row);
  }

  sorted(rows) {
    return rows.toSorted((one, other) => other.place - one.place);
  }

  insert(fresh, place) {
    this.list.insertBefore(fresh, [...this.list.children].find((other) => Number(other.dataset.place) < place) ?? null);
  }

  settle() {
    while (this.byKey.size > MOST) {
      const oldest = this.list.lastElementChild;
      this.remove(oldest.dataset.key, oldest);
      this.offerEarlier(this.oldestPlace);
    }
  }

  // Rows of the window before, from a panel: the newest make room for them.
  prepend(content) {
    const older = [...content.querySelector("[data-list]").children].filter((row) => !this.byKey.has(row.dataset.key));
    this.list.append(...older);
    for (const row of older) this.byKey.set(row.dataset.key, row);
    const line = content.querySelector(".earlier");
    this.offerEarlier(line.hidden ? 0 : this.oldestPlace);
    while (this.byKey.size > MOST) this.letGoNewest();
    if (this.detached) this.sayUnseen(this.unseen);
  }

  letGoNewest() {
    const newest = this.list.firstElementChild;
    this.remove(newest.dataset.key, newest);
    this.detached = true;
  }
}
