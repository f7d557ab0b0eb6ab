// What a screen reader is told of by itself: changes of status, politely, and never more often than it can be
// listened to. Of several that come meanwhile the last is said.
const EVERY = 3000;
const announcer = document.getElementById("announcer");
let waiting = "", timer = 0, free = 0;

export function announce(text) {
  waiting = text;
  if (!timer) timer = setTimeout(say, Math.max(0, free - Date.now()));
}

function say() {
  timer = 0;
  free = Date.now() + EVERY;
  announcer.textContent = waiting;
}
