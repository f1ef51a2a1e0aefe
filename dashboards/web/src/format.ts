// Numbers, times and words as people read them. Pure.

const group = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

// 64-bit numbers come as strings, NaN as "NaN" or null.
export function num(value: unknown): number {
  if (value === null || value === undefined || value === "") return NaN;
  return Number(value);
}

export function short(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(2);
  if (size >= 1000) return group.format(value);
  return String(Number(value.toPrecision(4)));
}

// "12.4k" for axes and tight places.
export function compact(value: number): string {
  const size = Math.abs(value);
  for (const [unit, one] of [["G", 1e9], ["M", 1e6], ["k", 1e3]] as const) {
    if (size >= one) return Number((value / one).toPrecision(3)) + unit;
  }
  return short(value);
}

export function seconds(value: number): string {
  if (!Number.isFinite(value)) return "–";
  if (value <= 0) return "0 s";
  if (value < 0.0095) return (value * 1000).toFixed(1) + " ms";
  if (value < 0.995) return Math.round(value * 1000) + " ms";
  if (value < 60) return value.toFixed(value < 10 ? 2 : 1) + " s";
  const whole = Math.round(value);
  const parts = [
    [Math.floor(whole / 86400), "d"],
    [Math.floor((whole % 86400) / 3600), "h"],
    [Math.floor((whole % 3600) / 60), "m"],
    [whole % 60, "s"],
  ] as [number, string][];
  const first = parts.findIndex(([n]) => n > 0);
  return parts.slice(first, first + 2).filter(([n]) => n > 0)
    .map(([n, unit]) => `${n} ${unit}`).join(" ");
}

export function bytes(value: number): string {
  if (!Number.isFinite(value)) return "–";
  const units = ["B", "KB", "MB", "GB", "TB", "PB"];
  let at = 0;
  while (value >= 1000 && at < units.length - 1) {
    value /= 1000;
    at += 1;
  }
  return Number(value.toPrecision(3)) + " " + units[at];
}

export function clock(unixMs: number): string {
  if (!(unixMs > 0)) return "–";
  return new Date(unixMs).toLocaleTimeString("en-GB");
}

export function moment(unixMs: number): string {
  if (!(unixMs > 0)) return "–";
  const date = new Date(unixMs);
  return date.toISOString().slice(0, 10) + " " + date.toLocaleTimeString("en-GB");
}

export const step = (value: number): string => (value < 0 ? "none" : short(value));
export const percent = (share: number): string =>
  Number.isFinite(share) ? (share * 100).toFixed(1) + " %" : "–";
export const words = (name: string): string => name.replace(/_/g, " ");
export const plural = (n: number, one: string, more = one + "s"): string =>
  `${short(n)} ${n === 1 ? one : more}`;

export type Tone = "good" | "warn" | "bad" | "quiet";

const TONES: Record<string, Tone> = {
  running: "good", completed: "good", connected: "good", recovered: "good",
  verified: "good", trusted: "good", accepted: "good",
  halted: "bad", distrusted: "bad", lost: "bad", open: "bad", critical: "bad",
  paused: "warn", stopping: "warn", starting: "warn", verifying: "warn",
  placing: "warn", silent: "warn", quarantined: "warn", warning: "warn",
};
export const toneOf = (word: string): Tone => TONES[word] ?? "quiet";
// A shape for each tone, so that nothing hangs on a colour alone.
export const SHAPES: Record<Tone, string> = { good: "●", warn: "▲", bad: "■", quiet: "○" };
