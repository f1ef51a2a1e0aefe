// Many tabs of one browser: they share a stream, since a browser opens six
// connections to a server at most over HTTP/1.1. Where it has no locks, each
// tab opens its own. Kills the server in the end, and starts it again.
import assert from "node:assert/strict";
import { failing, passed, watch } from "./harness.mjs";
import { until } from "./cluster.mjs";

const TABS = 9;

async function openTabs(context, server, hash, count) {
  const tabs = [];
  for (let i = 0; i < count; i++) {
    const page = watch(await context.newPage(), server.url);
    page.streams = [];
    page.on("request", (request) => {
      const url = new URL(request.url());
      if (url.pathname === "/api/v1/events") page.streams.push(url.search);
    });
    await page.goto(server.url + "/" + hash);
    tabs.push(page);
  }
  return tabs;
}
const isLive = (page) => page.getByText("live", { exact: true }).waitFor();
const stepOf = async (page) => (await page.locator(".tile dd").first().innerText());
async function allMove(tabs) {
  await Promise.all(tabs.map(async (page, i) => {
    const before = await stepOf(page);
    await until(`tab ${i} moves`, async () => (await stepOf(page)) !== before, 15);
  }));
}

export async function checkTabs(browser, server, run) {
  const context = await browser.newContext();
  let tabs = await openTabs(context, server, `#/run/${run}`, TABS);
  await Promise.all(tabs.map(isLive));
  const readers = () => tabs.filter((page) => page.streams.length > 0);
  assert.equal(readers().length, 1, "one tab reads the stream");
  await allMove(tabs);
  // What arrives by the shared stream, not by reading now and then.
  const quiet = tabs.find((page) => page.streams.length === 0);
  await quiet.evaluate(() => { window.fetch = () => new Promise(() => {}); });
  await allMove([quiet]);

  const [reader] = readers();
  await reader.close();
  tabs = tabs.filter((page) => page !== reader);
  await until("another tab reads on", async () => readers().length === 1);
  assert.match(readers()[0].streams[0], /^\?last=.+/, "it goes on after the last event");
  await Promise.all(tabs.map(isLive));
  await allMove(tabs);

  const bare = await browser.newContext();
  await bare.addInitScript(() => Object.defineProperty(Navigator.prototype, "locks", { value: undefined }));
  const own = await openTabs(bare, server, `#/run/${run}`, 3);
  await Promise.all(own.map(isLive));
  assert.deepEqual(own.map((page) => page.streams.length), [1, 1, 1]);
  await allMove(own);
  await bare.close();
  passed("without locks each tab has its own stream");

  await failing(async () => {
    await server.stop("SIGKILL");
    await Promise.all(tabs.map((page) => page.getByText("connection lost, trying again").waitFor()));
    await server.start();
    await Promise.all(tabs.map(isLive));
  });
  assert.equal(readers().length, 1);
  await context.close();
  passed(`${TABS} tabs share one stream, also after its reader and the server are gone`);

}
