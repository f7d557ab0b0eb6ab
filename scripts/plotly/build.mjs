// node build.mjs FOLDER: writes plotly.min.js, plotly.css and LICENSE there.

import { copyFile, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";

const [folder] = process.argv.slice(2);

// A browser that knows this line (Chromium) compiles the whole file beside the page's own work. Without it
// functions are compiled when they are first called, which holds the page up.
const COMPILE_AT_ONCE = "//# allFunctionsCalledOnLoad";

// Attributes are explained in their source; plotly's own bundles leave that away, too.
const withoutDescriptions = {
  name: "without-descriptions",
  setup({ onLoad }) {
    onLoad({ filter: /plotly\.js\/src\/.*\.js$/ }, async ({ path }) => {
      const source = await readFile(path, "utf8");
      return {
        contents: source
          .replace(/\bdescription: \[[^\]]*\]\.join\([^)]*\)/g, "description: ''")
          .replace(/\bdescription: ('[^'\n\\]*'|"[^"\n\\]*")/g, "description: ''"),
      };
    });
  },
};

// A script by itself and no module, nor a function around it: such a body would be parsed twice.
const { metafile } = await build({
  entryPoints: ["entry.cjs"],
  outfile: join(folder, "plotly.min.js"),
  banner: { js: COMPILE_AT_ONCE },
  bundle: true,
  minify: true,
  metafile: true,
  format: "iife",
  globalName: "Plotly",
  target: "es2022",
  legalComments: "none", // LICENSE has them all
  loader: { ".css": "empty" }, // of maps
  define: { global: "window", "define.amd": "false", "process.env.NODE_DEBUG": "false" },
  plugins: [withoutDescriptions],
});
await copyFile("node_modules/plotly.js/dist/plotly.css", join(folder, "plotly.css"));

const [{ inputs }] = Object.values(metafile.outputs);
const bundled = Object.keys(inputs).filter((path) => !path.endsWith(".css"));
const packages = new Set(bundled.map((path) => path.match(/node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1]));
const licences = await Promise.all([...packages].filter(Boolean).sort().map(licenceOf));
await writeFile(join(folder, "LICENSE"), licences.join("\n"));

async function licenceOf(name) {
  const { version, license } = JSON.parse(await readFile(`node_modules/${name}/package.json`, "utf8"));
  const file = (await readdir(`node_modules/${name}`)).find((one) => /^licen[cs]e/i.test(one));
  const text = file ? await readFile(`node_modules/${name}/${file}`, "utf8") : "The package has no text of it.\n";
  return `${name} ${version}: ${license}\n\n${text}`;
}
