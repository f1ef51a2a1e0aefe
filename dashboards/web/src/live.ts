// What the server tells without being asked. One stream, closed while the page
// is hidden; after a lost connection what was missed is told again, or a
// resync makes every page read anew.

import { signal } from "@preact/signals";
import type { Run } from "./api";

export type Link = "connecting" | "live" | "lost";
export const link = signal<Link>("connecting");
// Figures told since the run was last read, by run.
export const told = signal<ReadonlyMap<string, Partial<Run>>>(new Map());

type Listener = (run: string, what: string[]) => void;
const listeners = new Set<Listener>();
// Called with "" for all runs, and with ["resync"] when anything may differ.
export function onChanged(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
const tell = (run: string, what: string[]) => listeners.forEach((one) => one(run, what));

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
let source: EventSource | null = null;
let lastId = "";
let wait = FIRST_WAIT_MS;
let retry = 0;
let wasLost = false;

function open(): void {
  clearTimeout(retry);
  source?.close();
  source = new EventSource("/api/v1/events" + (lastId ? "?last=" + encodeURIComponent(lastId) : ""));
  source.onopen = () => {
    wait = FIRST_WAIT_MS;
    link.value = "live";
    // Without an id to go on from, what was missed cannot be told again.
    if (wasLost && !lastId) tell("", ["resync"]);
    wasLost = false;
  };
  source.onerror = () => {
    source?.close();
    source = null;
    link.value = "lost";
    wasLost = true;
    retry = window.setTimeout(open, wait * (0.75 + Math.random() / 2));
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  };
  source.addEventListener("run", (event) => {
    lastId = event.lastEventId;
    const run = JSON.parse(event.data);
    const next = new Map(told.peek());
    next.set(run.run, { ...run, progress_age_seconds: 0 });
    told.value = next;
    tell(run.run, ["run"]);
  });
  source.addEventListener("changed", (event) => {
    lastId = event.lastEventId;
    const { run, what } = JSON.parse(event.data);
    tell(run, what);
  });
  source.addEventListener("resync", (event) => {
    lastId = event.lastEventId;
    tell("", ["resync"]);
  });
}

export function startLive(): void {
  open();
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      clearTimeout(retry);
      source?.close();
      source = null;
      wasLost = true;
    } else if (source === null) {
      open();
    }
  });
}
export function stopLive(): void {
  clearTimeout(retry);
  source?.close();
  source = null;
}
