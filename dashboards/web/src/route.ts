// The address after '#': a page can be linked to with its run, range of steps
// and incident. Pure.

export interface Route {
  screen: string;
  id: string; // A run, or an incident on the screen "incident".
  from: number; // Steps shown; 0, 0: all of them.
  to: number;
}

export const RUN_SCREENS = [
  ["run", "Overview"], ["recovery", "Recovery"], ["checkpoints", "Checkpoints"],
  ["time", "Time"], ["policy", "Policy"], ["audit", "Audit"],
] as const;
const SCREENS = new Set(["fleet", "nodes", "audit", "incident",
  ...RUN_SCREENS.map(([name]) => name)]);

const whole = (text: string | null): number => {
  const value = Number(text);
  return Number.isSafeInteger(value) && value > 0 ? value : 0;
};

export function parseRoute(hash: string): Route {
  const text = hash.replace(/^#\/?/, "");
  const [path, query = ""] = text.split("?", 2);
  const parts = path.split("/");
  const screen = SCREENS.has(parts[0]) ? parts[0] : "fleet";
  let id = "";
  try {
    id = decodeURIComponent(parts[1] ?? "");
  } catch {
    // A broken escape: no run has such a name.
  }
  const values = new URLSearchParams(query);
  const from = whole(values.get("from"));
  const to = whole(values.get("to"));
  return { screen, id, from, to: to > from ? to : 0 };
}

export function hashOf(screen: string, id = "", from = 0, to = 0): string {
  let hash = "#/" + screen;
  if (id) hash += "/" + encodeURIComponent(id);
  if (to > from) hash += `?from=${Math.max(0, Math.floor(from))}&to=${Math.ceil(to)}`;
  return hash;
}

// Runs are named without colons, so the last one separates the number.
export const runOfIncident = (id: string): string => id.slice(0, id.lastIndexOf(":"));
