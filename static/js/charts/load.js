// Plotly is large: it is fetched after the page has been painted, and only where there is a chart. Ours
// (scripts/plotly.sh) has all that is drawn here and neither evals nor adds styles, which the page's policy refuses.

let loading = null;

export function loadPlotly(address = new URL("../../vendor/plotly/plotly.min.js", import.meta.url).href) {
  loading ??= afterFirstPaint().then(() => script(address)).catch(forget);
  return loading;
}

// It may be asked for again.
function forget(error) {
  loading = null;
  throw error;
}

function afterFirstPaint() {
  return new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 0)));
}

function script(address) {
  const element = document.createElement("script");
  element.src = address;
  element.async = true;
  document.head.append(element);
  return new Promise((resolve, reject) => {
    // In a task of its own: whoever clicks meanwhile is not kept waiting for it and for the drawing.
    element.onload = () => setTimeout(() => resolve(globalThis.Plotly), 0);
    element.onerror = () => {
      element.remove();
      reject(new Error("The drawing library could not be loaded. Reload the page."));
    };
  });
}
