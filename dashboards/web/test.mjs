// Type-checks, then runs src/**/*.test.ts with node's own test runner. Skips
// (77) where the npm packages are not installed.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
if (!existsSync(join(here, "node_modules/esbuild"))) {
  console.log("skipped: npm ci has not been run in dashboards/web");
  process.exit(77);
}
const run = (...command) => {
  const { status } = spawnSync(process.execPath, command, { cwd: here, stdio: "inherit" });
  if (status !== 0) process.exit(1);
};
run("node_modules/typescript/bin/tsc", "--noEmit");

const { build } = await import("esbuild");
const out = mkdtempSync(join(tmpdir(), "steadyrun-web-test-"));
try {
  const tests = readdirSync(join(here, "src")).filter((name) => name.endsWith(".test.ts"));
  if (tests.length === 0) throw new Error("no tests found in src");
  await build({
    absWorkingDir: here, entryPoints: tests.map((name) => "src/" + name), outdir: out,
    outExtension: { ".js": ".mjs" }, bundle: true, platform: "node", format: "esm",
    logLevel: "warning",
  });
  run("--test", ...tests.map((name) => join(out, name.replace(/\.ts$/, ".mjs"))));
} finally {
  rmSync(out, { recursive: true, force: true });
}
