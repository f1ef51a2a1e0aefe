import assert from "node:assert/strict";
import { test } from "node:test";
import { hashOf, parseRoute, rankHash, runOfIncident } from "./route";

test("a link comes back as it was made", () => {
  for (const [screen, id, from, to] of [["run", "gpt-70b", 100, 2000], ["incident", "a.b:12", 0, 0],
    ["fleet", "", 0, 0], ["checkpoints", "x_1", 0, 0]] as const) {
    assert.deepEqual(parseRoute(hashOf(screen, id, from, to)), { screen, id, rank: -1, from, to });
  }
});

test("a rank has a link of its own", () => {
  assert.deepEqual(parseRoute(rankHash("gpt 70b", 0, 3, 9)),
    { screen: "rank", id: "gpt 70b", rank: 0, from: 3, to: 9 });
  for (const hash of ["#/rank/x", "#/rank/x/", "#/rank/x/-1", "#/rank/x/1e3"]) {
    assert.equal(parseRoute(hash).screen, "fleet");
  }
});

test("nonsense leads to the fleet", () => {
  for (const hash of ["", "#", "#/", "#/nope/x", "#//", "#/__proto__"]) {
    assert.equal(parseRoute(hash).screen, "fleet");
  }
  assert.deepEqual(parseRoute("#/run/%E0%A4%A"), { screen: "run", id: "", rank: -1, from: 0, to: 0 });
});

test("a range must go forwards", () => {
  assert.equal(parseRoute("#/run/a?from=5&to=5").to, 0);
  assert.equal(parseRoute("#/run/a?from=-5&to=1e99").to, 0);
  assert.equal(parseRoute("#/run/a?from=5&to=9").to, 9);
});

test("an incident names its run", () => assert.equal(runOfIncident("gpt-70b:3"), "gpt-70b"));
