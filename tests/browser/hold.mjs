// A held run: told on every screen, a fault waits, the release answers it.
import assert from "node:assert/strict";
import { until } from "./cluster.mjs";
import { checkAxe, go, passed, shoot } from "./harness.mjs";

export async function checkHold(page, server, feed, run) {
  const state = () => server.get("runs/" + run);
  const dialog = page.getByRole("dialog");
  const banner = page.locator(".banner.held");
  const { attempt, incidents } = await state();

  await go(page, server, `#/recovery/${run}`, "who has acknowledged");
  await page.getByRole("main").getByRole("button", { name: "Hold" }).click();
  await dialog.getByText("Nothing is stopped or started by itself until the hold is released").waitFor();
  await dialog.locator("input[name=reason]").fill("a switch is replaced");
  await dialog.getByRole("button", { name: "hold", exact: true }).click();
  await dialog.locator(".done").getByText(/held by dashboard: a switch is replaced/).waitFor();
  await dialog.getByRole("button", { name: "Close" }).click();
  await banner.getByText("held by dashboard: a switch is replaced").waitFor();

  feed.order("crash 5");
  await until("the crash is seen", async () => Number((await state()).incidents) > Number(incidents));
  await go(page, server, `#/run/${run}`, "Step time by rank");
  await banner.waitFor();
  await checkAxe(page, "held run");
  await shoot(page, "run-held");
  const held = await state();
  assert.ok(held.is_held && held.attempt === attempt, "nothing was restarted");
  await go(page, server, "#/fleet", run);
  await page.getByRole("region", { name: "Runs" }).getByText("held", { exact: true }).waitFor();

  await go(page, server, `#/run/${run}`, "Step time by rank");
  await banner.getByRole("button", { name: "Release hold" }).click();
  await dialog.getByText("Automatic recovery goes on").waitFor();
  await dialog.locator("input[name=reason]").fill("the switch is new");
  await shoot(page, "action-unhold");
  await dialog.getByRole("button", { name: "release hold" }).click();
  await dialog.locator(".done").getByText(/hold released by dashboard/).waitFor();
  await dialog.getByRole("button", { name: "Close" }).click();
  await banner.waitFor({ state: "detached" });
  await until("the fault is answered", async () => {
    const now = await state();
    return now.phase === "running" && Number(now.attempt) > Number(attempt) && Number(now.step) >= 0;
  });
  await page.getByRole("group", { name: "Actions on " + run }).getByRole("button", { name: "Hold" }).waitFor();
  passed("hold: told everywhere, a fault waits, the release answers it");
}
