// Builds the module, the page and the service worker into the Python package:
//   node build.mjs [FOLDER]
// The page's HTML, CSS and icon stand there already, as they are; another FOLDER gets copies of them.

import { cp } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const page = resolve(`${here}/../src/slimpose/web/page`);
const out = resolve(process.argv[2] ?? page);
const common = {
  absWorkingDir: here,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
};

await build({ ...common, entryPoints: ["src/index.ts"], outfile: `${out}/slimpose.js` });
await build({
  ...common,
  entryPoints: ["page/page.ts"],
  outfile: `${out}/page.js`,
  plugins: [
    {
      name: "the page imports the module next to it",
      setup({ onResolve }) {
        onResolve({ filter: /src\/index\.js$/ }, () => ({ path: "./slimpose.js", external: true }));
      },
    },
  ],
});
await build({
  ...common,
  entryPoints: ["page/service-worker.ts"],
  outfile: `${out}/service-worker.js`,
  format: "iife",
});
if (out !== page) {
  for (const name of ["index.html", "style.css", "icon.svg"]) await cp(`${page}/${name}`, `${out}/${name}`);
}
