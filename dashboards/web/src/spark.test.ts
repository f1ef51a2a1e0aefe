import assert from "node:assert/strict";
import test from "node:test";
import { sparkOf } from "./spark";

test("the lowest value is at the bottom, the highest at the top", () => {
  const { path, gaps, first, last } = sparkOf([4, 2, 3], 106, 26);
  assert.equal(path, "M3 3L53 23L103 13");
  assert.deepEqual(gaps, []);
  assert.deepEqual([first, last], [4, 3]);
});

test("no line crosses what is not finite", () => {
  const { path, gaps } = sparkOf([1, NaN, 2, Infinity], 36, 26);
  assert.equal(path, "M3 23h0M23 3h0");
  assert.deepEqual(gaps, [13, 33]);
});

test("equal values are a line in the middle; none at all is no line", () => {
  assert.equal(sparkOf([5, 5], 26, 20).path, "M3 10L23 10");
  const none = sparkOf([NaN, NaN], 26, 20);
  assert.equal(none.path, "");
  assert.ok(Number.isNaN(none.last));
});
