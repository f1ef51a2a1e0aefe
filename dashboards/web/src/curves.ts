// From the server's columns to what uPlot draws. Pure.

export interface Columns {
  step: number[];
  attempt: number[];
  nonfinite_steps: number[];
  [name: string]: (number | null)[];
}

export interface Curve {
  step: number[];
  value: (number | null)[];
  low: (number | null)[];
  high: (number | null)[];
  abandoned: (number | null)[];
  nonfinite: number[]; // Steps of buckets that hold a NaN or an infinity.
}

// The kept curve and the abandoned one on one axis. Where an attempt gives way
// to another a point without a value is put between, so that no line joins
// them.
export function mergeCurve(kept: Columns, gone: Columns | null, value: string,
                           low: string, high: string): Curve {
  const out: Curve = { step: [], value: [], low: [], high: [], abandoned: [], nonfinite: [] };
  const push = (step: number, v: number | null, l: number | null, h: number | null,
                a: number | null) => {
    out.step.push(step);
    out.value.push(v);
    out.low.push(l);
    out.high.push(h);
    out.abandoned.push(a);
  };
  const goneStep = gone?.step ?? [];
  // Abandoned attempts may overlap; uPlot wants ascending steps.
  const order = goneStep.map((_, i) => i).sort((a, b) => goneStep[a] - goneStep[b]);
  let g = 0;
  let lastAttempt = -1;
  for (let i = 0; i < kept.step.length; i++) {
    while (g < order.length && goneStep[order[g]] < kept.step[i]) {
      push(goneStep[order[g]], null, null, null, gone![value][order[g]]);
      g += 1;
    }
    let shared: number | null = null;
    while (g < order.length && goneStep[order[g]] === kept.step[i]) {
      shared = gone![value][order[g]];
      g += 1;
    }
    const attempt = kept.attempt[i];
    if (lastAttempt >= 0 && attempt !== lastAttempt) {
      push(kept.step[i] - 0.5, null, null, null, null);
    }
    lastAttempt = attempt;
    push(kept.step[i], kept[value][i], kept[low]?.[i] ?? kept[value][i],
         kept[high]?.[i] ?? kept[value][i], shared);
    if (kept.nonfinite_steps[i] > 0) out.nonfinite.push(kept.step[i]);
  }
  for (; g < order.length; g++) {
    push(goneStep[order[g]], null, null, null, gone![value][order[g]]);
  }
  // A NaN that a rollback undid is still what happened.
  goneStep.forEach((step, i) => {
    if (gone!.nonfinite_steps[i] > 0) out.nonfinite.push(step);
  });
  out.nonfinite.sort((a, b) => a - b);
  return out;
}

// Index of the step nearest to `step`; -1 for no steps.
export function nearest(steps: number[], step: number): number {
  let low = 0;
  let high = steps.length - 1;
  if (high < 0) return -1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] < step) low = middle + 1;
    else high = middle;
  }
  return low > 0 && step - steps[low - 1] < steps[low] - step ? low - 1 : low;
}
