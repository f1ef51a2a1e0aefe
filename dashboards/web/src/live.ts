// What the server tells without being asked. Nothing is listened to while the
// page is hidden; after a lost connection what was missed is told again, or a
// resync makes every page read anew.

import { signal } from "@preact/signals";
import type { Run } from "./api";
import type { Link, Told } from "./event_stream";
import { joinStream } from "./shared_stream";

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

let lastId = "";
let leave: (() => void) | null = null;

function take({ name, data, id }: Told): void {
  lastId = id || lastId;
  if (name === "resync") return tell("", ["resync"]);
  const one = JSON.parse(data);
  if (name === "changed") return tell(one.run, one.what);
  const next = new Map(told.peek());
  next.set(one.run, { ...one, progress_age_seconds: 0 });
  told.value = next;
  tell(one.run, ["run"]);
}

function join(): void {
  if (leave || document.hidden) return;
  leave = joinStream(() => lastId, take, (now) => { link.value = now; });
}
export function stopLive(): void {
  document.removeEventListener("visibilitychange", onVisibility);
  leave?.();
  leave = null;
}
// Becoming visible, every page reads anew by itself.
function onVisibility(): void {
  if (!document.hidden) return join();
  leave?.();
  leave = null;
}
export function startLive(): void {
  document.addEventListener("visibilitychange", onVisibility);
  join();
}
