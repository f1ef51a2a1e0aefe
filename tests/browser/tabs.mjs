// Many tabs of one browser: they share a stream, since a browser opens six
// connections to a server at most over HTTP/1.1. Where it has no locks, each
// tab opens its own.
import assert from "node:assert/strict";
import { failing, launch, passed, watch } from "./harness.mjs";
import { until } from "./cluster.mjs";

const TABS = 9;

async function openTabs(context, address, hash, count) {
  const tabs = [];
  for (let i = 0; i < count; i++) {
    const page = watch(await context.newPage(), address);
    page.streams = [];
    page.on("request", (request) => {
      const url = new URL(request.url());
      if (url.pathname === "/api/v1/events") page.streams.push(url.search);
    });
    await page.goto(address + "/" + hash);
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

// By an address that is not this machine's own, a page over plain HTTP has
// neither locks nor crypto.randomUUID.
async function checkPlainHttp(server, run) {
  const elsewhere = server.url.replace("127.0.0.1", "203.0.113.7");
  const browser = await launch("--host-resolver-rules=MAP 203.0.113.7 127.0.0.1");
  try {
    const tabs = await openTabs(await browser.newContext(), elsewhere, `#/run/${run}`, 3);
    assert.ok(!await tabs[0].evaluate(() => isSecureContext || "locks" in navigator));
    await Promise.all(tabs.map(isLive));
    assert.deepEqual(tabs.map((page) => page.streams.length), [1, 1, 1]);
    await allMove(tabs);
    await tabs[0].getByRole("button", { name: "Checkpoint now" }).click();
    const dialog = tabs[0].getByRole("dialog");
    await dialog.locator("input[name=reason]").fill("from elsewhere");
    await dialog.getByRole("button", { name: "checkpoint" }).click();
    await dialog.getByText(/all ranks save at the end of step/).waitFor();
  } finally {
    await browser.close();
  }
  passed("over plain HTTP each tab has its own stream, and orders are taken");
}

// The tabs, one of which reads the stream.
export async function checkTabs(browser, server, run) {
  const context = await browser.newContext();
  let tabs = await openTabs(context, server.url, `#/run/${run}`, TABS);
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


  // A hidden tab neither reads nor listens; shown again, it does.
  const hide = (page, isHidden) => page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { value, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, isHidden);
  const [hidden] = readers();
  await hide(hidden, true);
  await until("a visible tab reads on", async () => readers().length === 2);
  await allMove(tabs.filter((page) => page !== hidden));
  await hide(hidden, false);
  await allMove([hidden]);
  assert.equal(hidden.streams.length, 1, "it listens to the other, which reads");
  passed(`${TABS} tabs share one stream, also after its reader is closed or hidden`);
  // Chromium tells there that it ignores a header.
  await failing(() => checkPlainHttp(server, run));
  return tabs;
}
