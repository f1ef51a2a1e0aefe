// An incident's evidence sorted into what the page shows apart, as the hang
// detector writes it (hang_laggard.cc, standstills.cc). A line that is written
// otherwise stays a line. Pure.

// "rank 8 on node-01: step 41, phase forward (change 123), advanced 31 s ago,
// process state T, CPU 3 %"
export interface Stand {
  rank: number; node: string; step: number; phase: string; advanced: string;
  state: string; cpu: string;
}
// "collective dp: ranks 0, 1, 3 have entered 42, rank 2 has entered 41"
export interface Collective {
  group: string;
  places: { ranks: string; entered: number; isBehind: boolean }[];
  note: string;
}
// "stack of rank 2: load (data.py:7) < next (data.py:3)", innermost first;
// "stacks of 7 ranks alike: ..."
export interface Stack { whose: string; frames: string[]; }
export interface Evidence {
  plain: string[]; stands: Stand[]; collectives: Collective[]; stacks: Stack[];
}

const STAND = /^rank (\d+)(?: on (\S+))?: step (-?\d+), phase (\S+)(?: \(change \d+\))?, advanced (.+?) ago(.*)$/;
const COLLECTIVE = /^collective (.+?): (.*)$/;
const PLACE = /(all \d+ ranks|ranks? [\d, ]+?(?: and \d+ more)?) (?:has|have) entered (\d+)/g;
const STACK = /^stacks? of (.+?): (.*)$/s;

function readStand(line: string): Stand | null {
  const found = STAND.exec(line);
  if (!found) return null;
  const [, rank, node = "", step, phase, advanced, rest] = found;
  return { rank: Number(rank), node, step: Number(step), phase, advanced,
    state: /process state (\S)/.exec(rest)?.[1] ?? "", cpu: /CPU (\d+ %)/.exec(rest)?.[1] ?? "" };
}

function readCollective(line: string): Collective | null {
  const found = COLLECTIVE.exec(line);
  if (!found) return null;
  const [, group, text] = found;
  const places = [...text.matchAll(PLACE)].map(([, ranks, entered]) => ({ ranks, entered: Number(entered) }));
  if (places.length === 0) return null;
  const newest = Math.max(...places.map((p) => p.entered));
  const note = text.replace(PLACE, "").replace(/^[\s,;]+|[\s,;]+$/g, "").replace(/\s*,(\s*,)+\s*/g, ", ");
  return { group, note, places: places.map((p) => ({ ...p, isBehind: p.entered < newest })) };
}

export function readEvidence(lines: string[]): Evidence {
  const out: Evidence = { plain: [], stands: [], collectives: [], stacks: [] };
  for (const line of lines) {
    const stand = readStand(line);
    const collective = readCollective(line);
    const stack = STACK.exec(line);
    if (stand) out.stands.push(stand);
    else if (collective) out.collectives.push(collective);
    else if (stack) out.stacks.push({ whose: stack[1], frames: stack[2].trim().split(/ < |\n\s*/) });
    else out.plain.push(line);
  }
  return out;
}

// Whom the others waited for: the culprit, or all ranks of its node.
export function isMissing(stand: Stand, culprit: { node: string; rank: number } | null): boolean {
  if (!culprit) return false;
  if (culprit.rank >= 0) return stand.rank === culprit.rank;
  return culprit.node !== "" && stand.node === culprit.node;
}

const STATES: Record<string, string> = {
  R: "running", S: "sleeping", D: "waiting for I/O", T: "stopped", t: "traced",
  Z: "ended", X: "ended", I: "idle",
};
export const stateWord = (letter: string): string => STATES[letter] ?? letter;
