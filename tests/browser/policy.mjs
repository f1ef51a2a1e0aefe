// The policy page: a replay over history, complaints with their places, and
// nothing changed by either.
import assert from "node:assert/strict";
import { until } from "./cluster.mjs";
import { checkAxe, failing, go, passed, shoot } from "./harness.mjs";

export async function checkPolicyReplay(page, server, run) {
  const state = async () => {
    const [policy, { attempt, incidents }, audit] = await Promise.all([
      server.get(`runs/${run}/policy`), server.get(`runs/${run}`), server.get(`runs/${run}/audit`)]);
    return JSON.stringify([policy, attempt, incidents, audit.entries.length]);
  };
  const before = await state();
  await go(page, server, `#/policy/${run}`, "A replay only reads");
  const box = page.getByLabel("Policy, as TOML");
  const inForce = await box.inputValue();
  assert.match(inForce, /same_failure_limit/);

  // The same policy: what happened is found, nothing differs.
  await page.getByRole("button", { name: "Replay", exact: true }).click();
  const kinds = page.getByRole("region", { name: "Replay by kind" });
  const row = (kind) => kinds.getByRole("row").filter({ has: page.getByRole("rowheader", { name: kind, exact: true }) });
  const cells = async (kind) => (await row(kind).getByRole("cell").allInnerTexts()).map((t) => t.trim());
  await row("crash").waitFor();
  const crash = await cells("crash");
  assert.equal(crash[0], "incidents");
  assert.ok(Number(crash[1]) >= 1 && Number(crash[2]) >= 1, crash.join());
  assert.equal((await cells("nan")).at(-1), "same");
  await checkAxe(page, "policy replay");
  await shoot(page, "policy-replay-same", { fullPage: true });

  // One that acts on nothing: the answers of the edited side change.
  assert.match(inForce, /^mode = "act"/m);
  await box.fill(inForce.replace(/^mode = "\w+"/gm, 'mode = "observe"'));
  await page.getByText("edited here").waitFor();
  await box.press("Control+Enter");
  // Found in, three of what happened, three of each policy, answer, change.
  const ACTED_IN_FORCE = 5;
  const ACTED_EDITED = 8;
  await until("the edited policy acts on nothing", async () =>
    /^0/.test((await cells("crash"))[ACTED_EDITED]));
  const observed = await cells("crash");
  assert.ok(Number(observed[ACTED_IN_FORCE]) >= 1, "the policy in force acted: " + observed.join());
  assert.match(observed.at(-1), /fewer acted/);
  await page.getByText("How these figures come about").waitFor();
  const nan = page.getByRole("region", { name: "Findings" }).getByRole("row").filter({ hasText: "nan" });
  assert.match(await nan.first().innerText(), /rollback.*observe/s);
  await shoot(page, "policy-replay", { fullPage: true });

  // What is wrong with a policy is said with its place, which one can go to.
  await failing(async () => {
    await box.fill("# A misspelling.\n[restart]\n\nsame_failure_limt = 3\n");
    await page.getByRole("button", { name: "Replay", exact: true }).click();
    const place = page.getByRole("button", { name: /^line 4, column \d+$/ });
    await place.waitFor();
    await page.getByText(/unknown key 'restart.same_failure_limt'/).waitFor();
    assert.equal(await kinds.count(), 0, "no result of a refused policy");
    await place.click();
    assert.equal(await box.evaluate((b) => document.activeElement === b &&
      b.value.slice(0, b.selectionStart).split("\n").length), 4);
    await shoot(page, "policy-complaint");
    await box.fill("[restart\n");
    await page.getByRole("button", { name: "Replay", exact: true }).click();
    await page.getByRole("button", { name: /^line 1, column \d+$/ }).waitFor();
    await checkAxe(page, "policy complaint");
  });
  await page.getByRole("button", { name: "Back to the policy in force" }).click();
  assert.equal(await box.inputValue(), inForce);
  assert.equal(await state(), before, "a replay changes nothing");
  passed("policy: replayed as it is and edited, complaints with their places, nothing changed");
}
