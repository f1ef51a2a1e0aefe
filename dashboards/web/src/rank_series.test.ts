import assert from "node:assert/strict";
import test from "node:test";
import { compare, rangeToRead, rankColumns, runColumns } from "./rank_series";

test("of a step made twice the later attempt counts", () => {
  const columns = rankColumns({ step: ["1", "2", "3", "2", "3"], attempt: ["1", "1", "1", "2", "2"],
                                value: [1, 2, 3, 20, "NaN"] });
  assert.deepEqual(columns.step, [1, 2, 3]);
  assert.deepEqual(columns.attempt, [1, 2, 2]);
  assert.deepEqual(columns.value, [1, 20, null]);
  assert.deepEqual(columns.nonfinite_steps, [0, 0, 1]);
});

test("a rank is compared on the steps that both have", () => {
  const rank = rankColumns({ step: [1, 2, 3, 4], attempt: [1, 1, 1, 1], value: [3, 1, "NaN", 9] });
  const run = runColumns({ step: [1, 2, 3], attempt: [1, 1, 1], nonfinite_steps: [0, 0, 0],
                           step_seconds: [1, 1, 1] }, "step_seconds");
  assert.deepEqual(compare(rank, run), { steps: 2, mean: 2, ratio: 2, newest: 2, slowShare: 0.5 });
  const none = compare(rank, runColumns({ step: [], attempt: [], nonfinite_steps: [] }, "x"));
  assert.equal(none.steps, 0);
  assert.ok(Number.isNaN(none.ratio));
});

test("a rank that became slow lately stands out", () => {
  const step = Array.from({ length: 1000 }, (_, i) => i);
  const rank = rankColumns({ step, attempt: step.map(() => 1), value: step.map((i) => (i < 900 ? 1 : 2)) });
  const run = runColumns({ step, attempt: step.map(() => 1), nonfinite_steps: step.map(() => 0),
                           step_seconds: step.map(() => 1) }, "step_seconds");
  const { ratio, newest, slowShare } = compare(rank, run);
  assert.deepEqual([ratio, newest, slowShare], [1.1, 2, 0.1]);
});

test("the larger the run, the fewer steps are read", () => {
  assert.deepEqual(rangeToRead(0, 0, 49_999, 64), { from: 48_000, to: 0, isNarrowed: false });
  assert.deepEqual(rangeToRead(0, 0, 49_999, 100_000), { from: 49_800, to: 0, isNarrowed: false });
  assert.deepEqual(rangeToRead(0, 0, -1, 8), { from: 0, to: 0, isNarrowed: false });
  assert.deepEqual(rangeToRead(100, 900, 49_999, 64), { from: 100, to: 900, isNarrowed: false });
  assert.deepEqual(rangeToRead(0, 60_000, 49_999, 64), { from: 30_000, to: 60_000, isNarrowed: true });
  assert.deepEqual(rangeToRead(0, 50_000, 49_999, 100_000), { from: 48_000, to: 50_000, isNarrowed: true });
});
