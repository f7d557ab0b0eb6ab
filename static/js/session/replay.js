// Replaying a log: all of it in ten seconds, or at its own pace times a factor, idle times cut short.
// Whoever wants less motion gets one picture a second.
const WHOLE = 10_000; // ms for all of it
const LONGEST_IDLE = 2000; // ms
const lessMotion = matchMedia("(prefers-reduced-motion: reduce)");
const beat = () => (lessMotion.matches ? 1000 : 200);

export class Replay {
  constructor(page) {
    this.page = page;
    this.timer = 0;
  }

  get playing() {
    return this.timer !== 0;
  }

  async toggle(speed) {
    if (this.playing) return this.stop();
    try {
      this.timer = -1; // it begins
      await this.begin(speed);
    } catch (error) {
      this.stop();
      this.page.failed(error);
    }
  }

  async change(speed) {
    if (!this.playing) return;
    this.stop();
    await this.toggle(speed);
  }

  async begin(speed) {
    const { first, end, here } = this.page;
    const from = here() >= end() ? first() : here();
    this.page.onChange(true);
    this.seqAt = speed === "whole" ? this.evenly(from, end()) : await this.paced(from, Number(speed));
    if (!this.playing) return;
    this.began = performance.now();
    this.timer = setTimeout(() => this.turn(), 0);
  }

  // A function from the milliseconds that it has played to the event that is shown.
  evenly(from, to) {
    const length = (WHOLE * (to - from)) / Math.max(1, to - this.page.first());
    return (played) => (length ? from + ((to - from) * played) / length : to);
  }

  async paced(from, factor) {
    const { moments } = await this.page.moments();
    const times = [];
    let shown = 0;
    for (let i = 1; i < moments.length; i += 1) {
      const [seq, at] = moments[i];
      if (seq <= from) continue;
      shown += Math.min(LONGEST_IDLE, Math.max(0, at - moments[i - 1][1]) / factor);
      times.push([shown, seq]);
    }
    return (played) => times.findLast(([at]) => at <= played)?.[1] ?? (times.length ? from : this.page.end());
  }

  async turn() {
    const end = this.page.end();
    const at = Math.min(end, Math.round(this.seqAt(performance.now() - this.began)));
    const last = at >= end;
    await this.page.go(at, last);
    if (!this.playing) return;
    if (last) return this.stop();
    this.timer = setTimeout(() => this.turn(), beat());
  }

  stop() {
    clearTimeout(this.timer);
    if (this.playing) this.page.onChange(false);
    this.timer = 0;
  }
}
