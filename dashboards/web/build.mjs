// node build.mjs OUT: bundles src/ into OUT/{index.html,app.js,style.css,
// icon.svg}, each with a .gz beside it. Prints the sizes.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2];
if (!out) {
  console.error("usage: node build.mjs OUT");
  process.exit(2);
}
mkdirSync(out, { recursive: true });

const result = await esbuild.build({
  absWorkingDir: here,
  entryPoints: { app: "src/main.tsx", style: "src/style.css" },
  outdir: out,
  bundle: true,
  minify: true,
  write: false,
  format: "esm",
  target: ["es2021"],
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  logLevel: "warning",
});

const put = (name, bytes) => {
  writeFileSync(join(out, name), bytes);
  const gzip = gzipSync(bytes, { level: 9 });
  writeFileSync(join(out, name + ".gz"), gzip);
  console.log(`${name}: ${bytes.length} bytes, ${gzip.length} gzip`);
};

// A new version has a new address, so that the rest may be kept for ever.
let page = readFileSync(join(here, "src/index.html"), "utf8");
for (const file of result.outputFiles) {
  const name = file.path.endsWith(".css") ? "style.css" : "app.js";
  const version = createHash("sha256").update(file.contents).digest("hex");
  page = page.replace(`/${name}"`, `/${name}?v=${version.slice(0, 12)}"`);
  put(name, Buffer.from(file.contents));
}
put("index.html", Buffer.from(page));
put("icon.svg", readFileSync(join(here, "src/icon.svg")));
