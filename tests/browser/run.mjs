// The dashboard in a real Chromium, of a real steadyrun-server, with a cluster
// of real agent streams: every screen, every action, a lost connection, both
// themes, no outside request, no error on the console, axe without serious
// findings. SHOTS=DIR keeps pictures of all screens.
// Exits 77 (skipped) with a message where chromium or the packages are missing.
import assert from "node:assert/strict";
import { Feed, Server, until } from "./cluster.mjs";
import { checkAxe, failing, go, launch, newPage, passed, problems, shoot } from "./harness.mjs";
import { checkHold } from "./hold.mjs";
import { checkPolicyReplay } from "./policy.mjs";
import { checkTabs } from "./tabs.mjs";

const RUN = "gpt-70b";
const runOf = (server) => server.get("runs/" + RUN);
const incidentsOf = async (server) => (await server.get(`runs/${RUN}/incidents`)).incidents;

// ---- the cluster and its story ------------------------------------------
const server = await new Server().start();
const feed = new Feed(server, { run: RUN, nodes: 8, ranks: 8, spares: 1, fast: 1200 });
const browser = await launch();
let failed = false;
try {
  const page = await newPage(browser, server, { colorScheme: "dark" });
  await feed.launched;
  feed.order("slow 37 1.42");
  await until("some steps", async () => Number((await runOf(server)).step) > 1200);
  feed.order("nan");
  await until("a NaN is recovered from", async () =>
    (await incidentsOf(server)).some((i) => i.kind === "nan" && i.state === "recovered"));
  feed.order("crash 43");
  await until("a crash is recovered from", async () =>
    (await incidentsOf(server)).some((i) => i.kind === "crash" && i.state === "recovered"));
  feed.order("stick 21");
  await until("a hang is recovered from", async () =>
    (await incidentsOf(server)).some((i) => i.kind === "hang" && i.state === "recovered"));
  const of = async (kind) => (await incidentsOf(server)).find((i) => i.kind === kind);
  const [crash, hang] = [await of("crash"), await of("hang")];
  passed("a cluster with a NaN, a crash, a stuck rank and a straggler");

  // ---- fleet and keys ----------------------------------------------------
  await go(page, server, "", RUN);
  await page.getByText("simulated data").waitFor();
  await page.getByRole("img", { name: new RegExp(`Loss of ${RUN}, \\d+ points`) }).waitFor();
  // Less than a minute says nothing of the goodput.
  const fleetRow = page.getByRole("row").filter({ hasText: RUN });
  assert.match(await fleetRow.innerText(), /\t–\t64 \/ 64\t.*\tact$/s);
  await page.keyboard.press("/");
  await page.locator("#filter:focus").waitFor();
  await page.keyboard.type("no such run");
  await page.getByText("no run matches the filter").waitFor();
  await page.fill("#filter", "gpt");
  await page.keyboard.press("Escape");
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.getByText("Step time by rank").waitFor();
  assert.match(page.url(), new RegExp(`#/run/${RUN}$`));
  await page.keyboard.press("?");
  await page.getByRole("dialog").getByText("one level up").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  passed("fleet, filter, keys");

  // ---- run ---------------------------------------------------------------
  await until("three curves with points", () => page.evaluate(() => {
    const plots = [...document.querySelectorAll(".plot")];
    return plots.length === 3 && plots.every((p) => Number(p.dataset.points) > 500);
  }));
  await page.getByText(/✕ \d+ not finite/).first().waitFor();
  const slowest = page.locator(".slowest tbody tr").first();
  await until("the straggler leads the list", async () => (await slowest.innerText()).startsWith("37"));
  // Its row of the picture is not of the others' colour.
  const rows = await page.evaluate(() => {
    const canvas = document.querySelector("canvas.heat");
    const { data, width, height } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return Array.from({ length: height }, (_, y) => data[(y * width + width - 2) * 4]);
  });
  assert.equal(rows.indexOf(Math.max(...rows)), 37);
  await page.locator("canvas.heat").scrollIntoViewIfNeeded();
  // The page may still be moving: measured anew at each try.
  await until("the cell under the pointer is read out", async () => {
    const box = await page.locator("canvas.heat").boundingBox();
    await page.mouse.move(box.x + box.width * 0.9, box.y + box.height * (37.5 / rows.length));
    return /rank 37, steps? .*1\.4\d × median/.test(await page.locator(".legend .reading").innerText());
  });
  const before = await page.locator(".tile dd").first().innerText();
  await until("the step counts up by itself", async () =>
    (await page.locator(".tile dd").first().innerText()) !== before);
  await page.locator(".plot").first().locator(".u-over").hover();
  await page.getByText(/step [\d,]+: /).first().waitFor();
  await page.locator(".plot").first().scrollIntoViewIfNeeded();
  const plot = await page.locator(".plot .u-over").first().boundingBox();
  await page.mouse.move(plot.x + plot.width * 0.5, plot.y + 40);
  await page.mouse.down();
  await page.mouse.move(plot.x + plot.width * 0.7, plot.y + 40, { steps: 4 });
  await page.mouse.up();
  await page.waitForURL(/from=\d+&to=\d+/);
  await page.getByText("all steps").click();
  await page.getByRole("button", { name: "log" }).first().click();
  passed("run: curves, cursor, range, heatmap");

  // Metrics by what they mean, small and together, with one cursor.
  const metrics = page.getByRole("region", { name: "Metrics" });
  await metrics.scrollIntoViewIfNeeded();
  assert.deepEqual(await metrics.locator("summary h3").allInnerTexts(),
    ["Reward", "Policy and KL", "Lengths", "Rollout", "Throughput", "Time"]);
  const figure = (name) => metrics.getByRole("figure", { name: name + " by step" });
  for (const name of ["reward/mean", "reward/std", "actor/kl_coef", "response_length/max", "rollout/wait_ratio"]) {
    await figure(name).scrollIntoViewIfNeeded();
    await until(name + " is drawn", async () =>
      Number(await figure(name).locator(".plot").getAttribute("data-points")) > 100);
  }
  assert.equal(await figure("compute_seconds").count(), 0, "a closed group costs nothing");
  await metrics.getByText("Time", { exact: true }).click();
  await figure("compute_seconds").waitFor();
  await figure("reward/mean").locator(".u-over").hover();
  for (const name of ["reward/mean", "reward/std", "rollout/wait_ratio"]) {
    await figure(name).getByText(/step [\d,]+: /).waitFor();
  }
  await checkAxe(page, "run with metrics");
  await shoot(page, "run-metrics", { fullPage: true });

  // A metric that no shown step has leaves the others of its group alone.
  await page.route("**/runs/*/metrics", (route) => route.fulfill({ json: { names: ["reward/gone", "reward/mean"] } }));
  await failing(async () => {
    await page.reload();
    await metrics.scrollIntoViewIfNeeded();
    await figure("reward/gone").scrollIntoViewIfNeeded();
    await figure("reward/gone").getByText("nothing reported").waitFor();
    await until("the other one is drawn", async () =>
      Number(await figure("reward/mean").locator(".plot").getAttribute("data-points")) > 100);
  });
  await page.unroute("**/runs/*/metrics");
  passed("metrics in groups, one cursor over all");

  // ---- one rank ------------------------------------------------------------
  await go(page, server, `#/run/${RUN}`, "Step time by rank");
  await page.locator(".slowest tbody tr").first().getByRole("link").focus();
  await page.keyboard.press("Enter");
  await page.waitForURL(new RegExp(`#/rank/${RUN}/37$`));
  await page.getByText(/1\.4\d ×/).waitFor();
  await page.getByText("node-04", { exact: true }).waitFor();
  await until("three curves of the rank", () => page.evaluate(() => {
    const plots = [...document.querySelectorAll(".plot")];
    return plots.length === 3 && plots.every((p) => Number(p.dataset.points) > 500);
  }));
  await page.locator(".plot .u-over").first().hover();
  await page.getByText(/step [\d,]+: \d+ ms, run \d+ ms/).first().waitFor();
  await page.getByRole("link", { name: "rank 38" }).click();
  await page.getByText("1.00 ×").first().waitFor();
  await page.getByLabel("Go to rank").fill("21");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/21$/);
  await page.getByRole("region", { name: "Incidents" }).getByText("hang").waitFor();
  await go(page, server, `#/run/${RUN}`, "Step time by rank");
  await page.locator("canvas.heat").scrollIntoViewIfNeeded();
  await until("a click on the picture leads to the rank", async () => {
    if (/#\/rank\//.test(page.url())) return true;
    const box = await page.locator("canvas.heat").boundingBox();
    await page.mouse.click(box.x + box.width * 0.5, box.y + box.height * (12.5 / rows.length));
    return false;
  });
  assert.match(page.url(), new RegExp(`#/rank/${RUN}/12$`));
  await go(page, server, `#/rank/${RUN}/64`, "has no rank 64");
  passed("one rank against its run, by link, keys and click");

  // ---- who did not arrive ----------------------------------------------------
  await go(page, server, `#/incident/${hang.id}`, "Who arrived and who did not");
  const stood = page.getByRole("region", { name: "Where the ranks stood" }).getByRole("row");
  assert.match(await stood.nth(1).innerText(), /^21\s.*did not arrive/s);
  assert.match(await stood.nth(1).innerText(), /sleeping/);
  assert.match(await stood.nth(2).innerText(), /waited/);
  const collective = page.getByRole("region", { name: "Collectives" }).getByRole("row");
  assert.match(await collective.nth(1).innerText(), /data_parallel.*arrived.*ranks 0, 1.*more/s);
  assert.match(await collective.nth(2).innerText(), /behind.*rank 21/s);
  const stacks = page.locator(".stacks figure");
  assert.deepEqual(await stacks.locator("figcaption").allInnerTexts(), ["rank 21", "63 ranks alike"]);
  assert.equal(await stacks.first().locator("pre").innerText(),
    "read (shard_reader.py:212)\nnext_batch (data.py:40)\nmain (train.py:31)");
  await page.getByRole("link", { name: "rank 21's history" }).click();
  await page.waitForURL(new RegExp(`#/rank/${RUN}/21$`));
  passed("incident: who arrived and who did not, collectives, stacks");

  await checkPolicyReplay(page, server, RUN);

  // ---- the other screens ---------------------------------------------------
  const screens = [
    ["hang", `#/incident/${hang.id}`, "Who arrived and who did not"],
    ["rank", `#/rank/${RUN}/37`, "Against the median"],
    ["incident", `#/incident/${crash.id}`, "an illegal memory access was encountered <b>not markup</b>"],
    ["recovery", `#/recovery/${RUN}`, "who has acknowledged"],
    ["checkpoints", `#/checkpoints/${RUN}`, "a restart would use it"],
    ["time", `#/time/${RUN}`, "the parts sum to"],
    ["policy", `#/policy/${RUN}`, "A replay only reads"],
    ["audit", `#/audit/${RUN}`, "launch"],
    ["nodes", "#/nodes", "node-08"],
    ["fleet", "#/fleet", RUN],
    ["run", `#/run/${RUN}`, "Step time by rank"],
  ];
  const light = await newPage(browser, server, { colorScheme: "light" });
  for (const [name, hash, sign] of screens) {
    for (const [theme, one] of [["dark", page], ["light", light]]) {
      await go(one, server, hash, sign);
      await checkAxe(one, `${name}, ${theme}`);
      await shoot(one, `${name}-${theme}`, { fullPage: true });
    }
  }
  const [dark, bright] = await Promise.all([page, light].map((one) =>
    one.evaluate(() => getComputedStyle(document.body).backgroundColor)));
  assert.notEqual(dark, bright);
  await light.getByRole("button", { name: /theme/ }).click();
  await light.getByRole("button", { name: /theme/ }).click();
  assert.equal(await light.evaluate(() => getComputedStyle(document.body).backgroundColor), dark);
  await light.context().close();
  const sum = await server.get(`runs/${RUN}/report`);
  const parts = Object.values(sum.lost_seconds).reduce((a, b) => a + b, sum.productive_seconds);
  assert.ok(Math.abs(parts - sum.wall_seconds) < 0.01 * sum.wall_seconds + 0.01, `${parts} ${sum.wall_seconds}`);
  passed("every screen in both themes, axe");

  // ---- actions ---------------------------------------------------------------
  // An order is refused if an incident has come since: no more stragglers.
  feed.order("slow 37 1");
  const dialog = page.getByRole("dialog");
  const act = async (button, reason, { typed, done, submit }) => {
    await page.getByRole("button", { name: button }).first().click();
    await dialog.getByText("Reason").waitFor();
    const order = dialog.getByRole("button", { name: submit });
    assert.ok(await order.isDisabled(), "an order without a reason");
    await dialog.locator("input[name=reason]").fill(reason);
    if (typed) {
      await dialog.locator("input[name=typed]").fill("something else");
      assert.ok(await order.isDisabled(), "a wrong name typed");
      await dialog.locator("input[name=typed]").fill(typed);
    }
    await until("the order can be sent", () => order.isEnabled());
    await shoot(page, "action-" + submit.replace(" ", "-"));
    await order.click();
    await dialog.locator(".done").getByText(done).waitFor();
    await dialog.getByRole("button", { name: "Close" }).click();
  };
  const running = (attempt) => until("it runs", async () => {
    const run = await runOf(server);
    return run.phase === "running" && Number(run.attempt) >= attempt && Number(run.step) >= 0 && run;
  });
  await go(page, server, `#/run/${RUN}`, "Step time by rank");
  await act("Checkpoint now", "before the change", { submit: "checkpoint", done: /all ranks save at the end of step/ });
  const attempt = Number((await running(1)).attempt);
  await act("Restart", "a test of it", { typed: RUN, submit: "restart", done: /restarted by/ });
  await running(attempt + 1);
  await page.getByText("More", { exact: true }).click();
  await act("Pause", "for a while", { submit: "pause", done: /saves step|paused/ });
  await until("it is paused", async () => (await runOf(server)).phase === "paused");
  await act("Resume", "go on", { submit: "resume", done: /resumed by/ });
  await running(attempt + 2);

  // A click that was decided on a picture which is no longer so.
  await page.getByRole("button", { name: "Restart" }).click();
  await dialog.getByText("steps made again").waitFor();
  feed.order("crash 11");
  await until("the crash has been seen", async () => Number((await runOf(server)).incidents) >= 3);
  await running(attempt + 3);
  await dialog.locator("input[name=reason]").fill("stale");
  await dialog.locator("input[name=typed]").fill(RUN);
  await failing(async () => { // A refusal is an HTTP error, which Chromium tells.
    await dialog.getByRole("button", { name: "restart" }).click();
    await dialog.getByText(/nothing was done: it (is at attempt|has had)/).waitFor();
  });
  assert.equal(Number((await runOf(server)).attempt), attempt + 3);
  await dialog.getByRole("button", { name: "Cancel" }).click();

  await go(page, server, `#/checkpoints/${RUN}`, "a restart would use it");
  await act(/Roll back to step/, "further back", { typed: RUN, submit: "rollback", done: /rolled back to step/ });
  await running(attempt + 4);
  await go(page, server, "#/nodes", "node-08");
  await act("Quarantine node-08", "smells", { submit: "quarantine", done: /not used by later attempts/ });
  await page.getByRole("button", { name: "Release node-08" }).waitFor();
  await act("Release node-08", "was nothing", { submit: "release", done: /may be used again/ });
  passed("checkpoint, restart, pause, resume, rollback, quarantine, release; a stale order refused");

  // Mute with a duration, from the menu and by keys alone.
  await go(page, server, `#/run/${RUN}`, "Step time by rank");
  await page.getByText("More", { exact: true }).focus();
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await dialog.getByText("Nothing is sent about the run until the mute ends").waitFor();
  await dialog.locator("select[name=duration]").selectOption("4 hours");
  await dialog.locator("input[name=reason]").fill("planned work");
  await checkAxe(page, "mute");
  await shoot(page, "action-mute");
  await dialog.getByRole("button", { name: "mute", exact: true }).click();
  await dialog.getByText(/nobody is notified of run gpt-70b for 240 min/).waitFor();
  await dialog.getByRole("button", { name: "Close" }).click();
  await go(page, server, `#/recovery/${RUN}`, "who has acknowledged");
  await page.getByRole("main").getByRole("button", { name: "Unmute" }).click();
  await dialog.locator("input[name=reason]").fill("done");
  await dialog.getByRole("button", { name: "unmute" }).click();
  await dialog.getByText(/notifications of run gpt-70b go out again/).waitFor();
  await dialog.getByRole("button", { name: "Close" }).click();
  const mutes = (await server.get("journal?run=" + RUN + "&limit=1000")).events.filter((e) => e.kind === "mute");
  assert.deepEqual(mutes.map((e) => e.state), ["on", "off"]);
  passed("mute for four hours, unmute");

  await running(attempt + 4);
  await checkHold(page, server, feed, RUN);
  const tabs = await checkTabs(browser, server, RUN);
  await go(page, server, "#/fleet", RUN);
  await until("goodput is told", async () =>
    /\t\d+\.\d %\t/.test(await page.getByRole("row").filter({ hasText: RUN }).innerText()), 60);
  await shoot(page, "fleet-goodput");
  passed("the fleet's row: loss line, goodput, mode");

  // ---- a lost connection ------------------------------------------------------
  await go(page, server, `#/run/${RUN}`, "Step time by rank");
  await page.getByText("live", { exact: true }).waitFor();
  const readers = () => tabs.filter((one) => one.streams.length > 0).length;
  const readersBefore = readers();
  await failing(async () => {
    const all = [page, ...tabs];
    await server.stop("SIGKILL");
    await Promise.all(all.map((one) => one.getByText("connection lost, trying again").waitFor()));
    await server.start();
    await Promise.all(all.map((one) => one.getByText("live", { exact: true }).waitFor()));
  });
  assert.equal(readers(), readersBefore, "the reader goes on reading");
  await tabs[0].context().close();
  passed("a killed server: told in all tabs, then live again");

  // ---- the last action -----------------------------------------------------------
  await go(page, server, `#/run/${RUN}`, "Step time by rank");
  await act("Stop", "enough", { typed: RUN, submit: "stop", done: /stopped by/ });
  await until("it is stopped", async () => ["stopped", "stopping"].includes((await runOf(server)).phase));
  await go(page, server, `#/audit/${RUN}`, "enough");
  passed("stop, and the audit tells it");
} catch (error) {
  failed = true;
  console.error(error);
} finally {
  await feed.end();
}

// ---- tokens ----------------------------------------------------------------------
const sha = async (text) => Buffer.from(await crypto.subtle.digest("SHA-256", Buffer.from(text))).toString("hex");
const secured = await new Server({
  token: "op-token",
  tokens: `viewer ${await sha("view-token")} vera\noperator ${await sha("op-token")} otto\nagent ${await sha("agent-token")}\n`,
}).start();
try {
  const page = await newPage(browser, secured);
  await failing(async () => { // 401 until the login.
  await page.goto(secured.url + "/");
  await page.locator("input[name=token]").fill("wrong");
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByText("the token is not known").waitFor();
  await page.locator("input[name=token]").fill("view-token");
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByText("vera (viewer)").waitFor();
  await page.getByText("live", { exact: true }).waitFor();
  const cookies = await page.context().cookies();
  assert.equal(cookies.length, 1);
  assert.ok(cookies[0].httpOnly && cookies[0].sameSite === "Strict");
  assert.ok(!cookies[0].value.includes("view-token"));
  assert.equal(await page.evaluate(() => document.cookie), "");
  const status = await page.evaluate(async () => (await fetch("/api/steadyrun.v1.OperatorService/Act", {
    method: "POST", headers: { "Content-Type": "application/json", "X-Steadyrun-Request": "1" },
    body: JSON.stringify({ request_id: "v", run: "x", action: "ACTION_STOP", reason: "r" }) })).status);
  assert.equal(status, 403);
  await page.getByRole("button", { name: "log out" }).click();
  await page.getByText("asks for a token").waitFor();
  assert.equal((await page.context().cookies()).length, 0);
  });
  passed("tokens: refused, viewer, cookie, no action for a viewer, log out");
} catch (error) {
  failed = true;
  console.error(error);
}
await browser.close();
await secured.end();
await server.end();
if (problems.length > 0) {
  failed = true;
  console.error("the pages did what they must not:", [...new Set(problems)]);
}
console.log(failed ? "FAILED" : "passed");
process.exit(failed ? 1 : 0);
