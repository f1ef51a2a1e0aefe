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

test("positions in collectives are read, and who is behind", () => {
  const { collectives, plain } = readEvidence([
    "collective dp_0: ranks 0, 1, 3 and 5 more have entered 42, rank 2 has entered 41",
    "collective tp: all 8 ranks have entered 7",
    "collective pp: ranks 0, 1 have entered 9, ranks 2, 3 have entered 8, 4 are between, rank 9 has entered 2; 3 more communicators have ranks behind",
    "collective: something else"]);
  assert.deepEqual(collectives[0], { group: "dp_0", note: "", places: [
    { ranks: "ranks 0, 1, 3 and 5 more", entered: 42, isBehind: false },
    { ranks: "rank 2", entered: 41, isBehind: true }] });
  assert.deepEqual(collectives[1], { group: "tp", note: "",
    places: [{ ranks: "all 8 ranks", entered: 7, isBehind: false }] });
  assert.deepEqual(collectives[2].places.map((p) => [p.ranks, p.entered, p.isBehind]),
    [["ranks 0, 1", 9, false], ["ranks 2, 3", 8, true], ["rank 9", 2, true]]);
  assert.match(collectives[2].note, /4 are between.*3 more communicators have ranks behind/);
  assert.deepEqual(plain, ["collective: something else"]);
});

test("stacks are read frame by frame, the innermost first", () => {
  const { stacks, plain } = readEvidence([
    "stack of rank 8: forward (model.py:40) < step (loop.py:3) < ...",
    "stacks of 7 ranks alike: wait (nccl.py:1)",
    "the stack was seen twice",
    "neither collectives nor a stack came from rank 3"]);
  assert.deepEqual(stacks, [
    { whose: "rank 8", frames: ["forward (model.py:40)", "step (loop.py:3)", "..."] },
    { whose: "7 ranks alike", frames: ["wait (nccl.py:1)"] }]);
  assert.equal(plain.length, 2);
});

test("the culprit, or its whole node, did not arrive", () => {
  const [stand] = readEvidence(["rank 8 on node-01: step 41, phase forward (change 1), advanced 3 s ago"]).stands;
  assert.ok(isMissing(stand, { node: "node-01", rank: 8 }));
  assert.ok(isMissing(stand, { node: "node-01", rank: -1 }));
  assert.ok(!isMissing(stand, { node: "node-01", rank: 9 }));
  assert.ok(!isMissing(stand, { node: "", rank: -1 }));
  assert.ok(!isMissing(stand, null));
});
