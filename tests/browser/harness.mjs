// Pages of a real Chromium, watched for what no page may ever do. Importing it
// ends the program with 77 (skipped) where chromium or the packages are
// missing.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../dashboards/web/package.json", import.meta.url));
const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync);
let chromium;
let axe;
try {
  ({ chromium } = require("playwright-core"));
  axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
} catch {
  // Told below.
}
if (!executablePath || !chromium || !axe) {
  console.log("skipped: needs chromium (deploy/install-packages.sh browser) and npm ci in dashboards/web");
  process.exit(77);
}

export const launch = (...args) => chromium.launch({ executablePath, args: ["--no-sandbox", ...args] });

const shots = process.env.SHOTS;
if (shots) mkdirSync(shots, { recursive: true });
export async function shoot(page, name, options = {}) {
  if (shots) await page.screenshot({ path: `${shots}/${name}.png`, ...options });
}

const started = Date.now();
export const passed = (what) => console.log(`ok ${((Date.now() - started) / 1000).toFixed(1)} s  ${what}`);

export const problems = []; // What no page may ever do.
let mayFail = false;
// While the server is down, or refuses, failed requests are right.
export async function failing(what) {
  mayFail = true;
  try {
    return await what();
  } finally {
    mayFail = false;
  }
}

export function watch(page, url) {
  page.setDefaultTimeout(15_000);
  page.on("console", (message) => {
    if (message.type() === "error" && !mayFail) problems.push("console: " + message.text());
  });
  page.on("pageerror", (error) => problems.push("error: " + error.message));
  page.on("request", (request) => {
    if (!request.url().startsWith(url + "/")) problems.push("asked " + request.url());
  });
  return page;
}
export async function newPage(browser, server, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 },
    bypassCSP: false, ...options });
  return watch(await context.newPage(), server.url);
}

export async function go(page, server, hash, sign) {
  await page.goto(server.url + "/" + hash);
  await page.getByText(sign).first().waitFor();
}

export async function checkAxe(page, what) {
  // Evaluated, not added as a script: the page's policy forbids that.
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] }));
  const serious = violations.filter((v) => ["serious", "critical"].includes(v.impact));
  assert.deepEqual(serious.map((v) => `${what}: ${v.id} ${v.nodes[0].html.slice(0, 160)} ${v.nodes[0].failureSummary}`), []);
}
