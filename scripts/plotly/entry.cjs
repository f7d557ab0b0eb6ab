// As plotly.js/src/core.js, with less: what is registered takes part in every drawing, used or not.

const { register } = require("plotly.js/src/registry");
const api = require("plotly.js/src/plot_api");

for (const [name, fn] of Object.entries(api)) register({ moduleType: "apiMethod", name, fn });
register([
  require("plotly.js/src/traces/scatter"),
  require("plotly.js/src/traces/bar"),
  require("plotly.js/src/components/annotations"),
  require("plotly.js/src/components/shapes"),
  require("plotly.js/src/components/legend"), // after shapes, before fx: their defaults build on one another
  require("plotly.js/src/components/fx"),
  require("plotly.js/src/components/modebar"), // never shown, but asked for its margins
  require("plotly.js/src/locale-en"),
  require("plotly.js/src/locale-en-us"),
]);

const { purge, react, relayout, restyle } = api;
module.exports = { version: require("plotly.js/src/version").version, purge, react, relayout, restyle };
