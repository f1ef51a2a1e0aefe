// An incident's evidence sorted into what the page shows apart. Pure.

// "rank 8 on node-01: step 41, phase forward (change 123), advanced 31 s ago,
// process state T, CPU 3 %", as the hang detector writes it.
export interface Stand {
  rank: number; node: string; step: number; phase: string; advanced: string;
  state: string; cpu: string;
}
export interface Evidence {
  plain: string[];
  stands: Stand[];
  // Stacks and positions in collectives: text to read in columns.
  blocks: string[];
}

const STAND = /^rank (\d+)(?: on (\S+))?: step (-?\d+), phase (\S+)(?: \(change \d+\))?, advanced (.+?) ago(.*)$/;
const BLOCK = /^\s*(stack of rank|collective|communicator)/i;

export function readEvidence(lines: string[]): Evidence {
  const out: Evidence = { plain: [], stands: [], blocks: [] };
  for (const line of lines) {
    const stand = STAND.exec(line);
    if (stand) {
      out.stands.push({ rank: Number(stand[1]), node: stand[2] ?? "", step: Number(stand[3]),
        phase: stand[4], advanced: stand[5],
        state: /process state (\S)/.exec(stand[6])?.[1] ?? "",
        cpu: /CPU (\d+ %)/.exec(stand[6])?.[1] ?? "" });
    } else if (BLOCK.test(line) || line.trimEnd().includes("\n")) {
      out.blocks.push(line.trimEnd());
    } else if (out.blocks.length > 0 && /^(\s{2,}|\t)/.test(line)) {
      // A frame below its heading.
      out.blocks[out.blocks.length - 1] += "\n" + line.trimEnd();
    } else {
      out.plain.push(line);
    }
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
