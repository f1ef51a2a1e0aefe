import assert from "node:assert/strict";
import { test } from "node:test";
import { cellAt, decodeCells, paint, palette, rankGroups } from "./heat";
import type { Matrix } from "./heat";

const matrix: Matrix = { rows: 2, columns: 3, cells: Uint8Array.from([0, 1, 255, 128, 1, 1]),
  low: 0.9, high: 1.5, ranksPerRow: 4, stepsPerColumn: 10, firstStep: 100, worldSize: 7 };

test("cells come from base64", () => {
  assert.deepEqual([...decodeCells(Buffer.from([0, 1, 255]).toString("base64"))], [0, 1, 255]);
});

test("a cell says its ranks, steps and ratio", () => {
  const cell = cellAt(matrix, 0.99, 0.1)!;
  assert.deepEqual([cell.ranks, cell.steps, cell.isClipped], [[0, 3], [120, 129], true]);
  assert.equal(cell.ratio, 1.5);
  assert.ok(Number.isNaN(cellAt(matrix, 0, 0)!.ratio));
  assert.deepEqual(cellAt(matrix, 0, 0.6)!.ranks, [4, 6]); // The last row is short.
  assert.equal(cellAt(matrix, 1, 0), null);
  assert.equal(cellAt(matrix, -0.1, 0), null);
});

test("slower is another colour, and nothing reported is one of its own", () => {
  const colours = palette([1, 2, 3]);
  const pixels = new Uint32Array(6);
  paint(matrix, colours, pixels);
  assert.equal(pixels[0], ((255 << 24) | (3 << 16) | (2 << 8) | 1) >>> 0);
  assert.notEqual(pixels[1], pixels[2]);
  assert.equal(new Set(colours).size > 200, true);
});

test("neighbours are said as ranges", () => {
  assert.equal(rankGroups([147, 144, 146, 145, 201]), "144–147, 201");
  assert.equal(rankGroups([]), "");
});
