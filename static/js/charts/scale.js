// Time on an axis: milliseconds to seconds since the start, long idle gaps folded, ticks in local time.

import { clock, day, minutes, offset } from "../clock.js";

const STEPS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000];
const SHORTEST_GAP = 30000;
const SHORTEST = 10; // ms that an axis shows
export const TICK_DISTANCE = 80;

// `starts`, `ends`: Float64Arrays of when each of the same things began and ended, in ms, in any order; they are
// sorted here. Returns a scale with to(ms) → u and from(u) → ms.
export function makeScale(starts, ends, start, end, folded) {
  const gaps = idleGaps(starts.sort(), ends.sort(), start, end);
  return new Scale(start, Math.max(end, start + SHORTEST), folded ? gaps : [], gaps.length > 0);
}

// When nothing was going on for long. Of tens of thousands of spans, as often as the picture is drawn: so it goes
// through beginnings and ends as numbers, each sorted by themselves.
function idleGaps(starts, ends, start, end) {
  const kept = 2 ** Math.round(Math.log2(Math.max(2000, busyTime(starts, ends) * 0.04)));
  const least = Math.max(SHORTEST_GAP, 4 * kept);
  const gaps = [];
  let at = start;
  for (let i = 0; i <= starts.length; i += 1) {
    const next = i < starts.length ? starts[i] : end;
    if (next - at > least) gaps.push({ from: at, to: next, kept });
    if (i < starts.length) at = Math.max(at, ends[i]);
  }
  return gaps;
}

// How long anything was going on.
function busyTime(starts, ends) {
  let total = 0;
  for (let i = 0; i < starts.length; i += 1) {
    // Where those that began before have not all ended, it was busy until then anyway.
    total += ends[i] - (i ? Math.max(starts[i], ends[i - 1]) : starts[i]);
  }
  return total;
}

class Scale {
  constructor(start, end, gaps, foldable) {
    this.foldable = foldable;
    this.start = start;
    this.end = end;
    this.gaps = gaps;
    this.length = this.to(end);
  }

  to(at) {
    let shown = at - this.start;
    for (const gap of this.gaps) {
      if (at <= gap.from) break;
      const inside = Math.min(at, gap.to) - gap.from;
      shown -= inside * (1 - gap.kept / (gap.to - gap.from));
    }
    return shown / 1000;
  }

  from(u) {
    let at = this.start + u * 1000;
    for (const gap of this.gaps) {
      if (at <= gap.from) break;
      const passed = Math.min(at - gap.from, gap.kept);
      at += passed * ((gap.to - gap.from) / gap.kept - 1);
    }
    return at;
  }

  // Labels at round local times, at least TICK_DISTANCE apart. Folded gaps can leave room for closer ones.
  ticks(range, pixels) {
    const perSecond = pixels / (range[1] - range[0]);
    const at = STEPS.findIndex((seconds) => seconds * perSecond >= TICK_DISTANCE);
    const index = at < 0 ? STEPS.length - 1 : at;
    const regular = this.ticksEvery(STEPS[index] * 1000, range, perSecond);
    return regular.values.length > 2 || !index ? regular : this.ticksEvery(STEPS[index - 1] * 1000, range, perSecond);
  }

  ticksEvery(step, range, perSecond) {
    const values = [];
    let [at, last] = [firstTick(this.from(range[0]), step), -Infinity];
    while (values.length < 60) {
      const u = this.to(at);
      if (u > range[1]) break;
      const gap = this.gaps.find((one) => at > one.from && at < one.to);
      if (!gap && u >= range[0] && (u - last) * perSecond >= TICK_DISTANCE) {
        values.push(at);
        last = u;
      }
      at = gap ? firstTick(gap.to, step) : at + step;
    }
    return { values: values.map((value) => this.to(value)), texts: values.map((value, i) => tickText(value, step, values[i - 1])) };
  }
}

// The next round time of the clock that is shown.
function firstTick(at, step) {
  const ahead = offset(at);
  return Math.ceil((at + ahead) / step) * step - ahead;
}

function tickText(at, step, before) {
  if (step >= 86400000) return day(at);
  const time = step < 1000 ? fine(at) : step < 60000 ? clock(at) : minutes(at);
  const newDay = before !== undefined && day(before) !== day(at);
  return newDay ? `${day(at)} ${time}` : time;
}

// With milliseconds behind the seconds.
function fine(at) {
  const whole = Math.round(at);
  return clock(whole).replace(/\d(?!.*\d)/, `$&.${String(whole % 1000).padStart(3, "0")}`);
}
