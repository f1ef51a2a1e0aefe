// The range of an axis that one outlier must not spoil. Pure.

// The middle 98 % of the values with some room; `floor` is always in it. The
// last `recent` points are always inside too: what happens now is seen.
export function robustRange(values: (number | null)[], floor?: number): [number, number] {
  const finite: number[] = [];
  for (const value of values) {
    if (value !== null && Number.isFinite(value)) finite.push(value);
  }
  if (finite.length === 0) return [0, 1];
  const newest = finite[finite.length - 1];
  finite.sort((a, b) => a - b);
  const at = (q: number) => finite[Math.round(q * (finite.length - 1))];
  let low = Math.min(at(0.01), newest);
  let high = Math.max(at(0.99), newest);
  if (floor !== undefined) low = Math.min(low, floor);
  if (high - low < 1e-12 * Math.max(1, Math.abs(high))) {
    const room = Math.abs(high) * 0.05 || 1;
    low -= room;
    high += room;
  }
  const room = (high - low) * 0.08;
  return [floor !== undefined && low === floor ? floor : low - room, high + room];
}

// For a logarithmic axis: the positive values only.
export function logRange(values: (number | null)[]): [number, number] {
  let low = Infinity;
  let high = 0;
  for (const value of values) {
    if (value === null || !(value > 0) || !Number.isFinite(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (!(high > 0)) return [0.1, 1];
  return low === high ? [low / 2, high * 2] : [low * 0.9, high * 1.1];
}
