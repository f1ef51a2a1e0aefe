// What a replay of a policy says, made ready for the page. Pure.

import type { BacktestFinding } from "./api";
import { num } from "./format";

// A complaint about the text; line 0: about no place in it.
export interface Complaint { line: number; column: number; text: string; }

// The server says "FILE:LINE:COLUMN: what", a line each.
export function complaintsOf(message: string, file: string): Complaint[] {
  return message.split("\n").filter(Boolean).map((one) => {
    const rest = one.startsWith(file + ":") ? one.slice(file.length + 1) : one;
    const place = rest === one ? null : /^(\d+):(\d+): (.*)$/.exec(rest);
    return place ? { line: Number(place[1]), column: Number(place[2]), text: place[3] }
      : { line: 0, column: 0, text: rest.trim() };
  });
}

// Where in the text a place is; both count from 1.
export function offsetOf(text: string, line: number, column: number): number {
  let start = 0;
  for (let at = 1; at < line; at++) {
    const end = text.indexOf("\n", start);
    if (end < 0) break;
    start = end + 1;
  }
  const end = text.indexOf("\n", start);
  return Math.min(start + column - 1, end < 0 ? text.length : end);
}

export interface FindingPair {
  key: string;
  before: BacktestFinding | null;
  after: BacktestFinding | null;
}

const sameFinding = (f: BacktestFinding) =>
  [f.kind, f.attempt, f.detected_step, f.culprit?.node ?? "", f.culprit?.rank ?? -1].join(" ");

// The same finding under both policies on one row, in the order of detection.
export function pairFindings(before: BacktestFinding[], after: BacktestFinding[]): FindingPair[] {
  const pairs = new Map<string, FindingPair>();
  const add = (side: "before" | "after", finding: BacktestFinding) => {
    const base = sameFinding(finding);
    let key = base;
    for (let n = 2; pairs.get(key)?.[side]; n++) key = `${base} ${n}`;
    const pair = pairs.get(key) ?? { key, before: null, after: null };
    pair[side] = finding;
    pairs.set(key, pair);
  };
  before.forEach((finding) => add("before", finding));
  after.forEach((finding) => add("after", finding));
  const of = (pair: FindingPair) => (pair.after ?? pair.before)!;
  return [...pairs.values()].sort((a, b) => num(of(a).attempt) - num(of(b).attempt) ||
    num(of(a).detected_step) - num(of(b).detected_step));
}

// "2 more fired, 40 fewer steps lost"; "same" if nothing differs.
export function changeText(before: { answer: string; fired: unknown; acted: unknown; steps_lost: unknown },
                           after: typeof before): string {
  const parts: string[] = [];
  const add = (key: "fired" | "acted" | "steps_lost", word: string) => {
    const more = num(after[key]) - num(before[key]);
    if (more !== 0) parts.push(`${Math.abs(more)} ${more > 0 ? "more" : "fewer"} ${word}`);
  };
  add("fired", "fired");
  add("acted", "acted");
  add("steps_lost", "steps lost");
  if (parts.length > 0) return parts.join(", ");
  return before.answer === after.answer ? "same" : "another answer";
}
