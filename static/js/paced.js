// What is costly is done at once when it is asked for, and again as soon as it bears: a pause lies between two
// times, longer where it takes long, and never are two under way. Whoever asks meanwhile is not forgotten.
const REST = 4; // pauses of so many times as long as it took

export function paced(act, leastPause) {
  let isPlanned = false, ended = -Infinity, cost = 0, due = false;

  async function run() {
    due = false;
    const began = performance.now();
    try {
      await act();
    } finally {
      ended = performance.now();
      cost = ended - began;
      isPlanned = false;
      if (due) ask();
    }
  }

  function ask() {
    due = true;
    if (isPlanned) return;
    isPlanned = true;
    setTimeout(run, Math.max(0, ended + Math.max(leastPause, REST * cost) - performance.now()));
  }
  return ask;
}
