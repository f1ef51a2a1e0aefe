import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import type { Run } from "./api";
import { isSilent, toneOfRun, wordOfRun, worstFirst } from "./fleet_order";

const run = (name: string, more: Partial<Run> = {}): Run => ({
  spec: { run: name }, phase: "running", open_incidents: 0, step_seconds: 1,
  progress_age_seconds: 0, created_unix_ms: 1, ...more } as Run);

test("worst first, silent on top, ended last, none dropped", () => {
  const runs = [run("ended", { phase: "completed" }), run("good"), run("halted", { phase: "halted" }),
    run("silent", { progress_age_seconds: 240 }), run("trouble", { open_incidents: 1 }),
    run("starting", { phase: "starting" })];
  assert.deepEqual(worstFirst(runs).map((r) => r.spec.run),
    ["silent", "halted", "trouble", "starting", "good", "ended"]);
});

test("silence is measured by the run's own pace", () => {
  assert.equal(isSilent(run("a", { progress_age_seconds: 59 })), false);
  assert.equal(isSilent(run("a", { progress_age_seconds: 61 })), true);
  assert.equal(isSilent(run("a", { progress_age_seconds: 61, step_seconds: 10 })), false);
  assert.equal(isSilent(run("a", { progress_age_seconds: 999, phase: "paused" })), false);
});

test("never healthy beside an open incident", () => {
  const one = run("a", { open_incidents: 1 });
  assert.equal(toneOfRun(one), "warn");
  assert.equal(wordOfRun(one), "running, trouble");
});

test("text of a run is never markup", () => {
  for (const name of readdirSync("src")) {
    if (name.includes(".test.")) continue;
    const text = readFileSync("src/" + name, "utf8");
    assert.ok(!/innerHTML|insertAdjacentHTML|document\.write|\beval\(/.test(text), name);
  }
});
