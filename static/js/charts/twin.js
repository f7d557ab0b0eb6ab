// The table twin of a chart: the same facts for those who do not see the picture. Filled while it is open.

const MOST_ROWS = 300;

export class Twin {
  constructor(host, title, headings, onPick) {
    this.details = document.createElement("details");
    this.details.className = "chart-table";
    const summary = document.createElement("summary");
    summary.textContent = title;
    this.note = document.createElement("p");
    this.table = document.createElement("table");
    const head = this.table.createTHead().insertRow();
    for (const heading of headings) head.append(cell("th", heading));
    this.body = this.table.createTBody();
    const frame = document.createElement("div");
    frame.className = "chart-table-rows";
    frame.append(this.table);
    this.details.append(summary, this.note, frame);
    this.details.addEventListener("toggle", () => this.fill());
    this.body.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-branch-id]");
      if (button) onPick(button.dataset.branchId);
    });
    host.append(this.details);
  }

  // `rows()` → [{ id, texts }], called only when somebody reads them.
  show(rows, what) {
    this.rows = rows;
    this.what = what;
    this.fill();
  }

  fill() {
    if (!this.details.open || !this.rows) return;
    const rows = this.rows();
    const shown = rows.slice(0, MOST_ROWS);
    this.note.textContent = rows.length > shown.length
      ? `Showing ${shown.length} of ${rows.length} ${this.what}. “Active only” shows those that are not finished.`
      : "";
    shown.forEach((row, i) => this.fillRow(this.body.rows[i] ?? this.body.insertRow(), row));
    while (this.body.rows.length > shown.length) this.body.deleteRow(-1);
  }

  fillRow(element, { id, texts }) {
    while (element.cells.length < texts.length) element.append(cell("td", ""));
    const button = element.cells[0].firstElementChild ?? element.cells[0].appendChild(document.createElement("button"));
    button.type = "button";
    button.dataset.branchId = id;
    setText(button, texts[0]);
    for (let i = 1; i < texts.length; i += 1) setText(element.cells[i], texts[i]);
  }
}

function cell(tag, text) {
  const element = document.createElement(tag);
  if (tag === "th") element.scope = "col";
  element.textContent = text;
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
