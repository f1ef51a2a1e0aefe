// One rank's values beside those of its run. Pure.

import type { RankSeries } from "./api";
import type { Columns } from "./curves";
import { num } from "./format";

// Of a step that several attempts made, what the last of them made counts.
export function rankColumns(series: RankSeries): Columns {
  const order = series.step.map((_, i) => i).sort((a, b) =>
    num(series.step[a]) - num(series.step[b]) || num(series.attempt[a]) - num(series.attempt[b]));
  const out: Columns & { value: (number | null)[] } =
    { step: [], attempt: [], value: [], nonfinite_steps: [] };
  for (const i of order) {
    const step = num(series.step[i]);
    const value = num(series.value[i]);
    const isFinite = Number.isFinite(value);
    let at = out.step.length;
    if (at > 0 && out.step[at - 1] === step) at -= 1;
    out.step[at] = step;
    out.attempt[at] = num(series.attempt[i]);
    out.value[at] = isFinite ? value : null;
    out.nonfinite_steps[at] = isFinite ? 0 : 1;
  }
  return out;
}

// The run's curve under the name of the rank's.
export function runColumns(kept: Columns, name: string): Columns {
  return { step: kept.step, attempt: kept.attempt, value: kept[name] ?? [],
           nonfinite_steps: kept.step.map(() => 0) };
}

// Reading one rank's step costs the server the row of all ranks, some 4 ns a
// rank: a picture of its own accord takes a tenth of a second, one that was
// asked for a second.
const READ_UNASKED = 2e7;
const READ_AT_MOST = 2e8;
const STEPS_UNASKED = 2000;
const STEPS_AT_MOST = 20_000; // The server gives no more.

export interface Range { from: number; to: number; isNarrowed: boolean; }

// The steps to read; to: 0 is up to the newest, and with from: 0 what is shown
// without being asked for.
export function rangeToRead(from: number, to: number, newest: number, worldSize: number): Range {
  const within = (ranksTimesSteps: number, most: number) =>
    Math.min(most, Math.max(200, Math.floor(ranksTimesSteps / Math.max(1, worldSize))));
  if (to === 0) {
    return { from: Math.max(0, newest + 1 - within(READ_UNASKED, STEPS_UNASKED)), to: 0, isNarrowed: false };
  }
  const first = Math.min(to, newest) + 1 - within(READ_AT_MOST, STEPS_AT_MOST);
  return { from: Math.max(from, first), to, isNarrowed: first > from };
}

export interface Against {
  steps: number; // That both have.
  mean: number; // Of the rank; NaN: no such step.
  ratio: number; // Mean of the rank over the mean of the run.
  newest: number; // The same of the newest of these steps.
  slowShare: number; // Of the steps: rank over 1.1 times the run.
}
export const NEWEST_STEPS = 100;

export function compare(rank: Columns, run: Columns): Against {
  const other = new Map(run.step.map((step, i) => [step, run.value[i]]));
  const mine: number[] = [];
  const theirs: number[] = [];
  rank.step.forEach((step, i) => {
    const a = rank.value[i];
    const b = other.get(step);
    if (a === null || b === null || b === undefined) return;
    mine.push(a);
    theirs.push(b);
  });
  const sum = (values: number[]) => values.reduce((all, value) => all + value, 0);
  const steps = mine.length;
  const slow = mine.filter((value, i) => value > 1.1 * theirs[i]).length;
  return {
    steps, mean: sum(mine) / steps, ratio: sum(mine) / sum(theirs), slowShare: slow / steps,
    newest: sum(mine.slice(-NEWEST_STEPS)) / sum(theirs.slice(-NEWEST_STEPS)),
  };
}
