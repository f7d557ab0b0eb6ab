// Plotly is large: it is fetched after the page has been painted, and only where there is a chart. Its basic
// bundle has all that is drawn here and needs no eval, which the page's policy refuses.

// The bundle wants to add a <style> for maps, which nobody here draws and the policy refuses. An element
// with the id that it looks for tells it that it is there.
const MAP_STYLE = "9f215cf04c5486422605d13261cb87401f4e7763b6296af81e98efbc0130da53";

let loading = null;

export function loadPlotly(address = new URL("../../vendor/plotly/plotly-basic.min.js", import.meta.url).href) {
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
  const mark = document.createElement("meta");
  mark.id = MAP_STYLE;
  const element = document.createElement("script");
  element.src = address;
  element.async = true;
  document.head.append(mark, element);
  return new Promise((resolve, reject) => {
    // In a task of its own: whoever clicks meanwhile is not kept waiting for it and for the drawing.
    element.onload = () => setTimeout(() => resolve(globalThis.Plotly), 0);
    element.onerror = () => {
      element.remove();
      mark.remove();
      reject(new Error("The drawing library could not be loaded. Reload the page."));
    };
  });
}
