// The path of a sparkline. Pure.

export interface Spark {
  path: string;
  gaps: number[]; // x of the points that are not finite.
  first: number; // Finite ones; NaN: there is none.
  last: number;
}

const PAD = 3; // For the width of the line and of the marks.

export function sparkOf(values: number[], width: number, height: number): Spark {
  const finite = values.filter(Number.isFinite);
  const low = Math.min(...finite);
  const span = Math.max(...finite) - low;
  const xOf = (i: number) =>
    round(PAD + (values.length > 1 ? (i / (values.length - 1)) * (width - 2 * PAD) : 0));
  const yOf = (value: number) =>
    round(span > 0 ? height - PAD - ((value - low) / span) * (height - 2 * PAD) : height / 2);
  let path = "";
  const gaps: number[] = [];
  values.forEach((value, i) => {
    if (!Number.isFinite(value)) {
      gaps.push(xOf(i));
      return;
    }
    const begins = i === 0 || !Number.isFinite(values[i - 1]);
    path += `${begins ? "M" : "L"}${xOf(i)} ${yOf(value)}`;
    // A point between two gaps is a dot: the line has round ends.
    if (begins && !Number.isFinite(values[i + 1])) path += "h0";
  });
  return { path, gaps, first: finite[0] ?? NaN, last: finite[finite.length - 1] ?? NaN };
}

const round = (x: number): number => Math.round(x * 10) / 10;
