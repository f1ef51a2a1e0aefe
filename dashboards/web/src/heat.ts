// The rank x step matrix as pixels. Pure.

export interface Matrix {
  rows: number;
  columns: number;
  cells: Uint8Array; // 0 nothing; else 1..255 from low to high.
  low: number;
  high: number;
  ranksPerRow: number;
  stepsPerColumn: number;
  firstStep: number;
  worldSize: number;
}

export function decodeCells(base64: string): Uint8Array {
  const text = atob(base64);
  const cells = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) cells[i] = text.charCodeAt(i);
  return cells;
}

// Dark blue over pale to orange: dark to light to saturated, so that it also
// reads without telling red from green, and in print.
const STOPS: [number, number, number, number][] = [
  [0, 23, 42, 82], [0.17, 30, 62, 112], [0.35, 74, 144, 170],
  [0.6, 240, 200, 96], [0.8, 240, 130, 50], [1, 214, 48, 49],
];

// 256 colours as little-endian RGBA words; 0 is `missing`.
export function palette(missing: [number, number, number]): Uint32Array {
  const table = new Uint32Array(256);
  const word = (r: number, g: number, b: number) =>
    (255 << 24) | (Math.round(b) << 16) | (Math.round(g) << 8) | Math.round(r);
  table[0] = word(...missing);
  for (let i = 1; i < 256; i++) {
    const at = (i - 1) / 254;
    const next = Math.max(1, STOPS.findIndex(([place]) => place >= at));
    const [p0, r0, g0, b0] = STOPS[next - 1];
    const [p1, r1, g1, b1] = STOPS[next];
    const t = (at - p0) / (p1 - p0);
    table[i] = word(r0 + (r1 - r0) * t, g0 + (g1 - g0) * t, b0 + (b1 - b0) * t);
  }
  return table;
}

export function paint(matrix: Matrix, colours: Uint32Array, pixels: Uint32Array): void {
  const { cells } = matrix;
  for (let i = 0; i < cells.length; i++) pixels[i] = colours[cells[i]];
}

export interface Cell {
  ranks: [number, number];
  steps: [number, number];
  ratio: number; // NaN: nothing reported.
  isClipped: boolean;
}

// x and y are shares of the picture, 0 to 1.
export function cellAt(matrix: Matrix, x: number, y: number): Cell | null {
  const column = Math.floor(x * matrix.columns);
  const row = Math.floor(y * matrix.rows);
  if (column < 0 || row < 0 || column >= matrix.columns || row >= matrix.rows) return null;
  const cell = matrix.cells[row * matrix.columns + column];
  const rank = row * matrix.ranksPerRow;
  const step = matrix.firstStep + column * matrix.stepsPerColumn;
  return {
    ranks: [rank, Math.min(rank + matrix.ranksPerRow, matrix.worldSize) - 1],
    steps: [step, step + matrix.stepsPerColumn - 1],
    ratio: cell === 0 ? NaN : matrix.low + ((cell - 1) / 254) * (matrix.high - matrix.low),
    isClipped: cell === 255,
  };
}

// Neighbouring ranks as ranges: "144–147, 201".
export function rankGroups(ranks: number[]): string {
  const sorted = [...ranks].sort((a, b) => a - b);
  const groups: [number, number][] = [];
  for (const rank of sorted) {
    const last = groups[groups.length - 1];
    if (last && rank === last[1] + 1) last[1] = rank;
    else groups.push([rank, rank]);
  }
  return groups.map(([a, b]) => (a === b ? String(a) : `${a}–${b}`)).join(", ");
}
