// The names of the lanes in sight. They stay at the left whatever part of the time is shown.

import { make } from "./tools.js";
import { clip, icon } from "./words.js";

export class LaneNames {
  // `top`: pixels above the first lane; `lane`: height of one.
  constructor(host, { top, lane }) {
    this.lane = lane;
    this.frame = make("div", "lane-names");
    this.frame.setAttribute("aria-hidden", "true"); // the table has them
    this.frame.style.top = `${top}px`;
    this.list = make("div", "lane-list");
    this.frame.append(this.list);
    host.append(this.frame);
  }

  show({ lanes, rows, left, labelLength, model, selection }, { first, last, top }) {
    this.frame.style.height = `${rows * this.lane}px`;
    this.frame.style.width = `${left}px`;
    this.first = first;
    const shown = lanes.slice(first, last + 1);
    while (this.list.children.length > shown.length) this.list.lastChild.remove();
    shown.forEach((branch, i) => {
      const element = this.list.children[i] ?? this.list.appendChild(make("span", "lane-name"));
      const text = `${model.flags?.has(branch.id) ? "⚠" : icon(branch.status)}  ${clip(branch.name, labelLength)}`;
      if (element.textContent !== text) element.textContent = text;
      element.classList.toggle("is-selected", branch.id === selection.branch);
    });
    this.scroll(top);
  }

  scroll(top) {
    this.list.style.transform = `translateY(${(this.first - top) * this.lane}px)`;
  }
}
