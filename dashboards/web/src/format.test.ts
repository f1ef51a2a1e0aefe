import assert from "node:assert/strict";
import { test } from "node:test";
import { bytes, compact, num, percent, plural, seconds, short, step } from "./format";

test("numbers of the API", () => {
  assert.equal(num("12"), 12);
  assert.ok(Number.isNaN(num(null)));
  assert.ok(Number.isNaN(num("NaN")));
  assert.equal(num("Infinity"), Infinity);
});

test("numbers for people", () => {
  assert.equal(short(NaN), "NaN");
  assert.equal(short(-Infinity), "−∞");
  assert.equal(short(0), "0");
  assert.equal(short(1.23456), "1.235");
  assert.equal(short(99999), "99,999");
  assert.equal(short(0.00001234), "1.23e-5");
  assert.equal(compact(20_000), "20k");
  assert.equal(compact(13_100_000), "13.1M");
  assert.equal(step(-1), "none");
  assert.equal(percent(0.9713), "97.1 %");
  assert.equal(percent(NaN), "–");
  assert.equal(plural(1, "run"), "1 run");
  assert.equal(plural(2, "recovery", "recoveries"), "2 recoveries");
  assert.equal(bytes(1_400_000_000), "1.4 GB");
});

test("times keep two units", () => {
  assert.equal(seconds(NaN), "–");
  assert.equal(seconds(0), "0 s");
  assert.equal(seconds(0.0042), "4.2 ms");
  assert.equal(seconds(0.25), "250 ms");
  assert.equal(seconds(4.123), "4.12 s");
  assert.equal(seconds(59.96), "60.0 s");
  assert.equal(seconds(60), "1 m");
  assert.equal(seconds(12_060), "3 h 21 m");
  assert.equal(seconds(90_000), "1 d 1 h");
});
