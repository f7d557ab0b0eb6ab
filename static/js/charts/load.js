// Plotly is 5 MB: it is fetched after the page has been painted, and only where there is a chart.

let loading = null;

export function loadPlotly(address) {
  loading ??= afterFirstPaint().then(() => script(address));
  return loading;
}

function afterFirstPaint() {
  return new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 0)));
}

function script(address) {
  return new Promise((resolve, reject) => {
    const element = document.createElement("script");
    element.src = address;
    element.async = true;
    element.onload = () => resolve(globalThis.Plotly);
    element.onerror = () => reject(new Error("The drawing library could not be loaded. Reload the page."));
    document.head.append(element);
  });
}
