// Incidents as rows, and what a run's incidents add up to.

import type { Incident, Run } from "./api";
import type { Band } from "./chart";
import { clock, num, seconds, short, step, toneOf, words } from "./format";
import { hashOf } from "./route";
import { Badge, Table } from "./ui";

export function Verdict({ run }: { run: Run }) {
  return <section class="verdict card" aria-live="polite">
    <p class="verdict-text">{run.verdict}</p>
    <dl>
      <dt>Why</dt><dd>{run.why || run.phase_reason || "nothing out of order"}</dd>
      <dt>Next</dt><dd>{run.next}</dd>
    </dl>
  </section>;
}

export const culprit = (of: Pick<Incident, "culprit">): string => {
  const { node = "", rank = -1 } = of.culprit ?? {};
  return [node, rank >= 0 ? `rank ${rank}` : ""].filter(Boolean).join(", ") || "unknown";
};

export function IncidentTable({ incidents, empty = "none so far" }:
    { incidents: Incident[]; empty?: string }) {
  return <Table label="Incidents" rows={incidents} keyOf={(i) => i.id} empty={empty}
    open={(i) => { location.hash = hashOf("incident", i.id); }}
    columns={[
      { name: "state", cell: (i) => <Badge tone={toneOf(i.state)}>{i.state}</Badge> },
      { name: "what", cell: (i) => <a href={hashOf("incident", i.id)}>{words(i.kind)}</a> },
      { name: "step", number: true, cell: (i) => step(num(i.step)) },
      { name: "began", cell: (i) => clock(num(i.onset_unix_ms)) },
      { name: "first cause", cell: (i) => <><b>{culprit(i)}</b> — {i.reason}</> },
      { name: "action", cell: (i) => words(i.remediation) },
      { name: "steps lost", number: true, cell: (i) => short(num(i.steps_lost)) },
      { name: "back in", number: true, cell: (i) =>
        num(i.recovered_unix_ms) > 0 ? seconds(i.recovery_seconds) : "–" },
    ]} />;
}

// Where the incidents lie on an axis of steps.
export function bandsOf(incidents: Incident[], newest: number): Band[] {
  return incidents.filter((i) => num(i.step) >= 0).map((i) => ({
    from: num(i.step),
    to: i.state === "open" ? newest : num(i.step) + num(i.steps_lost),
    isOpen: i.state === "open",
    title: i.kind,
  }));
}
