import assert from "node:assert/strict";
import test from "node:test";
import type { BacktestFinding } from "./api";
import { changeText, complaintsOf, offsetOf, pairFindings } from "./policy_replay";

test("complaints have their place in the text", () => {
  assert.deepEqual(complaintsOf(
    "policy:3:7: 'mode' must be text, found a number\npolicy: the text is too long\nother: x", "policy"), [
    { line: 3, column: 7, text: "'mode' must be text, found a number" },
    { line: 0, column: 0, text: "the text is too long" },
    { line: 0, column: 0, text: "other: x" }]);
  assert.deepEqual(complaintsOf("another backtest runs; try again", "policy"), [
    { line: 0, column: 0, text: "another backtest runs; try again" }]);
});

test("a place beyond the text is its end", () => {
  const text = "ab\ncde\nf";
  assert.equal(offsetOf(text, 1, 1), 0);
  assert.equal(offsetOf(text, 2, 2), 4);
  assert.equal(offsetOf(text, 2, 99), 6);
  assert.equal(offsetOf(text, 9, 1), 7);
});

const finding = (kind: string, attempt: number, step: number, acts: boolean): BacktestFinding => ({
  kind, detector: "", attempt, onset_step: step, detected_step: step, culprit: null,
  severity: "", action: acts ? "rollback" : "observe", acts, reason: "", evidence: [] });

test("findings of both policies meet on one row, in order", () => {
  const pairs = pairFindings(
    [finding("nan", 2, 50, true), finding("loss_spike", 1, 90, false)],
    [finding("loss_spike", 1, 90, true), finding("loss_spike", 1, 70, false)]);
  assert.deepEqual(pairs.map((p) => [p.before?.acts ?? null, p.after?.acts ?? null]),
    [[null, false], [false, true], [true, null]]);
});

test("two findings that look alike are both kept", () => {
  const twice = [finding("nan", 1, 5, true), finding("nan", 1, 5, true)];
  assert.equal(pairFindings(twice, []).length, 2);
  assert.equal(pairFindings(twice, twice).length, 2);
});

test("a change is told in words", () => {
  const side = { answer: "restart", fired: "2", acted: "1", steps_lost: "40" };
  assert.equal(changeText(side, side), "same");
  assert.equal(changeText(side, { ...side, answer: "observe" }), "another answer");
  assert.equal(changeText(side, { ...side, fired: "3", steps_lost: "0" }), "1 more fired, 40 fewer steps lost");
});
