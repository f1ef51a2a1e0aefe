import assert from "node:assert/strict";
import test from "node:test";
import { isMissing, readEvidence } from "./evidence";

test("where ranks stand is read out of the hang detector's lines", () => {
  const { stands, plain } = readEvidence([
    "quiet for 31 s, deadline 30 s",
    "rank 8 on node-01: step 41, phase forward (change 123), advanced 31.2 s ago, process state T, CPU 3 %",
    "rank 9: step -1, phase startup (change 0), advanced 2 m 4 s ago",
    "rank 9 on node-01 is slow"]);
  assert.deepEqual(stands, [
    { rank: 8, node: "node-01", step: 41, phase: "forward", advanced: "31.2 s", state: "T", cpu: "3 %" },
    { rank: 9, node: "", step: -1, phase: "startup", advanced: "2 m 4 s", state: "", cpu: "" }]);
  assert.deepEqual(plain, ["quiet for 31 s, deadline 30 s", "rank 9 on node-01 is slow"]);
});

test("stacks and collectives are kept apart, frames with their heading", () => {
  const { blocks, plain } = readEvidence([
    "stack of rank 8 on node-01, 2 s old:", "  forward (model.py:40)", "  main (train.py:9)",
    "collective 812 of dp: ranks 0-7 entered, rank 8 not", "stack of rank 9:\n  wait (nccl.py:1)\n", "seen twice"]);
  assert.deepEqual(blocks, [
    "stack of rank 8 on node-01, 2 s old:\n  forward (model.py:40)\n  main (train.py:9)",
    "collective 812 of dp: ranks 0-7 entered, rank 8 not", "stack of rank 9:\n  wait (nccl.py:1)"]);
  assert.deepEqual(plain, ["seen twice"]);
});

test("the culprit, or its whole node, did not arrive", () => {
  const [stand] = readEvidence(["rank 8 on node-01: step 41, phase forward (change 1), advanced 3 s ago"]).stands;
  assert.ok(isMissing(stand, { node: "node-01", rank: 8 }));
  assert.ok(isMissing(stand, { node: "node-01", rank: -1 }));
  assert.ok(!isMissing(stand, { node: "node-01", rank: 9 }));
  assert.ok(!isMissing(stand, { node: "", rank: -1 }));
  assert.ok(!isMissing(stand, null));
});
