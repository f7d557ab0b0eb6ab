// What is wrong with a text that should be JSON, with its place; "" when nothing is.
export function problemWith(text, kind = "") {
  if (!text.trim()) return "";
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return `This is no JSON: ${explain(error.message, text)}`;
  }
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  return kind === "object" && !isObject ? 'It must be a JSON object, in braces: {"key": "value"}.' : "";
}

// Browsers name the place as a position, as line and column, or not at all.
function explain(message, text) {
  const words = message.replace(/^JSON\.parse: /, "").replace(/ in JSON.*| of the JSON data.*|, (?:\.\.\.)?".*is not valid JSON.*/s, "");
  return `${words} at ${place(message, text)}.`;
}

function place(message, text) {
  const named = message.match(/line (\d+) column (\d+)/);
  if (named) return `line ${named[1]}, column ${named[2]}`;
  const position = Number(message.match(/position (\d+)/)?.[1] ?? unexpected(text));
  const before = text.slice(0, position).split("\n");
  return `line ${before.length}, column ${before.at(-1).length + 1}`;
}

const TOKEN = /\s*("(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|[{}[\],:])/y;

// Where a value should begin and something else stands; the end, where nothing does.
function unexpected(text) {
  let before = "";
  TOKEN.lastIndex = 0;
  for (let start = 0; start < text.length; start = TOKEN.lastIndex) {
    const token = TOKEN.exec(text)?.[1];
    if (!token || !mayFollow(before, token)) return start + Math.max(0, text.slice(start).search(/\S|$/));
    before = token;
  }
  return text.length;
}

function mayFollow(before, token) {
  const isValueDue = "[,:".includes(before);
  return !isValueDue || !"]},:".includes(token) || before + token === "[]";
}
