import assert from "node:assert/strict";
import { test } from "node:test";
import { logRange, robustRange } from "./scale";

test("one outlier does not flatten the rest", () => {
  const values = Array.from({ length: 500 }, (_, i) => 2 + (i % 10) / 100);
  values[17] = 1e6;
  const [low, high] = robustRange(values);
  assert.ok(low > 1.9 && low <= 2, String(low));
  assert.ok(high < 2.3 && high >= 2.09, String(high));
});

test("the newest value is always inside", () => {
  const values = Array.from({ length: 1000 }, () => 1);
  values.push(50);
  assert.ok(robustRange(values)[1] >= 50);
});

test("a floor is kept, flat and empty curves have a range", () => {
  assert.equal(robustRange([4, 5, 6], 0)[0], 0);
  const [low, high] = robustRange([3, 3, 3]);
  assert.ok(low < 3 && high > 3);
  assert.deepEqual(robustRange([null, NaN]), [0, 1]);
  assert.ok(robustRange([0, 0])[1] > 0);
});

test("a logarithmic axis takes the positive values", () => {
  const [low, high] = logRange([-1, 0, null, NaN, 0.01, 100]);
  assert.ok(low > 0 && low < 0.01 && high > 100);
  assert.deepEqual(logRange([]), [0.1, 1]);
});
