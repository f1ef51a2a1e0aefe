// Prints what the dashboard costs: bytes, the first picture, three curves of
// 100,000 points each, a heatmap of 1,000 x 500, and 400 viewers.
//   node tests/bench/web/web_bench.mjs       (after a release build)
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { connect } from "node:net";
import { gzipSync } from "node:zlib";
import { Feed, Server, until } from "../../browser/cluster.mjs";

const web = new URL("../../../dashboards/web/", import.meta.url);
const require = createRequire(new URL("package.json", web));
const chromiumPath = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync);
const { chromium } = require("playwright-core");
const { build } = await import(require.resolve("esbuild"));
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const print = (what, figure) => console.log(what.padEnd(58), figure);

// ---- drawing alone, in a page of its own -----------------------------------
const code = await build({ stdin: { resolveDir: new URL("src", web).pathname, contents: `
  import uPlot from "uplot";
  import { mergeCurve } from "./curves";
  import { paint, palette } from "./heat";
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  window.curves = async (points) => {
    const step = Array.from({ length: points }, (_, i) => i);
    const value = step.map((i) => 2 + 6 * Math.exp(-i / 9000) + Math.sin(i) * 0.05);
    const columns = { step, attempt: step.map(() => 1), nonfinite_steps: step.map(() => 0), v: value };
    const at = performance.now();
    for (let chart = 0; chart < 3; chart++) {
      const curve = mergeCurve(columns, null, "v", "v", "v");
      new uPlot({ width: 440, height: 190, scales: { x: { time: false } },
        series: [{}, {}, {}, {}, { stroke: "#2f6fe0" }], bands: [{ series: [2, 1], fill: "#2f6fe038" }] },
        [curve.step, curve.low, curve.high, curve.abandoned, curve.value], document.body);
    }
    await frame();
    const took = performance.now() - at;
    document.body.replaceChildren();
    return took;
  };
  window.heat = async (rows, columns) => {
    const cells = Uint8Array.from({ length: rows * columns }, (_, i) => (i * 2654435761) >>> 24);
    const canvas = document.createElement("canvas");
    document.body.append(canvas);
    const at = performance.now();
    canvas.width = columns;
    canvas.height = rows;
    const context = canvas.getContext("2d");
    const image = context.createImageData(columns, rows);
    paint({ cells }, palette([1, 1, 1]), new Uint32Array(image.data.buffer));
    context.putImageData(image, 0, 0);
    await frame();
    const took = performance.now() - at;
    canvas.remove();
    return took;
  };` }, bundle: true, write: false, format: "iife", logLevel: "error" });

const server = await new Server().start();
const feed = new Feed(server, { run: "bench", nodes: 16, ranks: 8, spares: 0, fast: 1000 });
await feed.launched;
await until("1,000 steps", async () => Number((await server.get("runs/bench")).step) >= 1000, 60);

const script = Buffer.from(await (await fetch(server.url + "/app.js")).arrayBuffer());
print("JavaScript", `${(script.length / 1000).toFixed(1)} KB, ${(gzipSync(script, { level: 9 }).length / 1000).toFixed(1)} KB gzip`);

const browser = await chromium.launch({ executablePath: chromiumPath, args: ["--no-sandbox"] });
const first = [];
for (let i = 0; i < 5; i++) {
  const page = await browser.newPage();
  const at = performance.now();
  await page.goto(server.url + "/#/run/bench", { waitUntil: "commit" });
  await page.waitForFunction(() =>
    Number(document.querySelector(".plot")?.dataset.points) > 500 && document.querySelector("canvas.heat"));
  first.push(performance.now() - at);
  await page.close();
}
print("navigation to curves and heatmap of a live run", `${Math.round(median(first))} ms (median of 5)`);

const page = await browser.newPage();
await page.addScriptTag({ content: code.outputFiles[0].text });
const curves = [];
const heats = [];
for (let i = 0; i < 5; i++) {
  curves.push(await page.evaluate(() => window.curves(100_000)));
  heats.push(await page.evaluate(() => window.heat(1000, 500)));
}
print("three charts of 100,000 points", `${Math.round(median(curves))} ms (median of 5)`);
print("heatmap of 1,000 x 500", `${Math.round(median(heats))} ms (median of 5)`);
await browser.close();

// ---- viewers ------------------------------------------------------------------
const stat = () => {
  const kb = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.process.pid}/status`, "utf8"))[1];
  const fields = readFileSync(`/proc/${server.process.pid}/stat`, "utf8").split(") ")[1].split(" ");
  return { mb: kb / 1000, ticks: Number(fields[11]) + Number(fields[12]) };
};
const measure = async (what) => {
  const before = stat();
  const steps = Number((await server.get("runs/bench")).step);
  await new Promise((done) => setTimeout(done, 5000));
  const after = stat();
  const made = Number((await server.get("runs/bench")).step) - steps;
  print(what, `${after.mb.toFixed(1)} MB, ${((after.ticks - before.ticks) / 5).toFixed(1)} % of a core, ${(made / 5).toFixed(1)} steps/s`);
};
await measure("server with a live run, no viewer");
const [host, port] = server.http.split(":");
const viewers = Array.from({ length: 400 }, (_, i) => {
  const socket = connect(Number(port), host);
  socket.write("GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  if (i % 2 === 0) socket.resume(); // Every second one never reads.
  socket.on("error", () => {});
  return socket;
});
await new Promise((done) => setTimeout(done, 1000));
await measure("the same with 400 viewers, half of them not reading");
viewers.forEach((socket) => socket.destroy());
await feed.end();
await server.end();
