import assert from "node:assert/strict";
import { test } from "node:test";
import { mergeCurve, nearest } from "./curves";

const columns = (step: number[], attempt: number[], loss: (number | null)[], bad: number[] = []) => ({
  step, attempt, loss, loss_min: loss, loss_max: loss,
  nonfinite_steps: step.map((s) => (bad.includes(s) ? 1 : 0)) });

test("attempts are kept apart by a point without a value", () => {
  const curve = mergeCurve(columns([1, 2, 3], [1, 1, 2], [5, 4, 3]), null, "loss", "loss_min", "loss_max");
  assert.deepEqual(curve.step, [1, 2, 2.5, 3]);
  assert.deepEqual(curve.value, [5, 4, null, 3]);
});

test("abandoned steps stand beside the kept ones, in order", () => {
  const kept = columns([1, 2, 3, 4], [1, 1, 2, 2], [5, 4, 3, 2]);
  const gone = columns([3, 5], [1, 1], [9, 8], [5]);
  const curve = mergeCurve(kept, gone, "loss", "loss_min", "loss_max");
  assert.deepEqual([...curve.step].sort((a, b) => a - b), curve.step);
  assert.equal(curve.abandoned[curve.step.indexOf(3)], 9);
  assert.equal(curve.value[curve.step.indexOf(3)], 3);
  assert.equal(curve.abandoned[curve.step.indexOf(5)], 8);
  assert.deepEqual(curve.nonfinite, [5]);
});

test("a NaN is marked and leaves a hole", () => {
  const curve = mergeCurve(columns([1, 2], [1, 1], [5, null], [2]), null, "loss", "loss_min", "loss_max");
  assert.deepEqual(curve.value, [5, null]);
  assert.deepEqual(curve.nonfinite, [2]);
});

test("the nearest step", () => {
  assert.equal(nearest([], 3), -1);
  assert.equal(nearest([1, 5, 9], 6), 1);
  assert.equal(nearest([1, 5, 9], 8), 2);
  assert.equal(nearest([1, 5, 9], 99), 2);
});
