// Worst first. Pure.

import type { Run } from "./api";
import { num } from "./format";
import type { Tone } from "./format";

const ENDED = new Set(["completed", "stopped"]);
export const isEnded = (run: Run): boolean => ENDED.has(run.phase);

// A running run that has not advanced for this long is silent: many steps of
// its own pace, and a minute at least.
export function isSilent(run: Run): boolean {
  if (isEnded(run) || run.phase === "paused" || run.phase === "halted") return false;
  const pace = num(run.step_seconds);
  return num(run.progress_age_seconds) > Math.max(60, 20 * (pace > 0 ? pace : 0));
}

// After a restart the server knows no figures of a step before the next one.
export const hasFigures = (run: Run): boolean => num(run.step) >= 0 && num(run.step_seconds) > 0;

export function toneOfRun(run: Run): Tone {
  if (isEnded(run)) return "quiet";
  if (run.phase === "halted" || isSilent(run)) return "bad";
  if (num(run.open_incidents) > 0 || run.phase !== "running") return "warn";
  return "good";
}

export function wordOfRun(run: Run): string {
  if (isSilent(run)) return "silent";
  if (run.phase === "running" && num(run.open_incidents) > 0) return "running, trouble";
  return run.phase;
}

function badness(run: Run): number {
  if (isSilent(run)) return 5;
  if (run.phase === "halted") return 4;
  if (num(run.open_incidents) > 0) return 3;
  if (isEnded(run)) return 0;
  return run.phase === "running" ? 1 : 2;
}

export function worstFirst(runs: Run[]): Run[] {
  return [...runs].sort((a, b) => badness(b) - badness(a) ||
    num(b.open_incidents) - num(a.open_incidents) ||
    num(b.created_unix_ms) - num(a.created_unix_ms) ||
    (a.spec.run < b.spec.run ? -1 : 1));
}
