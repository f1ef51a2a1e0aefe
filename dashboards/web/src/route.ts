// The address after '#': a page can be linked to with its run, range of steps
// and incident. Pure.

export interface Route {
  screen: string;
  id: string; // A run, or an incident on the screen "incident".
  rank: number; // On the screen "rank"; else -1.
  from: number; // Steps shown; 0, 0: all of them.
  to: number;
}

export const RUN_SCREENS = [
  ["run", "Overview"], ["recovery", "Recovery"], ["checkpoints", "Checkpoints"],
  ["time", "Time"], ["policy", "Policy"], ["audit", "Audit"],
] as const;
const SCREENS = new Set(["fleet", "nodes", "audit", "incident", "rank",
  ...RUN_SCREENS.map(([name]) => name)]);

const whole = (text: string | null): number => {
  const value = Number(text);
  return Number.isSafeInteger(value) && value > 0 ? value : 0;
};

export function parseRoute(hash: string): Route {
  const text = hash.replace(/^#\/?/, "");
  const [path, query = ""] = text.split("?", 2);
  const parts = path.split("/");
  const rank = parts[0] === "rank" && /^\d{1,9}$/.test(parts[2] ?? "") ? Number(parts[2]) : -1;
  const isKnown = SCREENS.has(parts[0]) && (parts[0] !== "rank" || rank >= 0);
  const screen = isKnown ? parts[0] : "fleet";
  let id = "";
  try {
    id = decodeURIComponent(parts[1] ?? "");
  } catch {
    // A broken escape: no run has such a name.
  }
  const values = new URLSearchParams(query);
  const from = whole(values.get("from"));
  const to = whole(values.get("to"));
  return { screen, id, rank, from, to: to > from ? to : 0 };
}

const rangeQuery = (from: number, to: number): string =>
  to > from ? `?from=${Math.max(0, Math.floor(from))}&to=${Math.ceil(to)}` : "";

export function hashOf(screen: string, id = "", from = 0, to = 0): string {
  return "#/" + screen + (id ? "/" + encodeURIComponent(id) : "") + rangeQuery(from, to);
}
export function rankHash(run: string, rank: number, from = 0, to = 0): string {
  return `${hashOf("rank", run)}/${rank}` + rangeQuery(from, to);
}

// Runs are named without colons, so the last one separates the number.
export const runOfIncident = (id: string): string => id.slice(0, id.lastIndexOf(":"));
