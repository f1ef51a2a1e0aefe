// The ledger of checkpoints: which ones count, and which one is used next.

import { ActionButton } from "./actions";
import { get, runPath } from "./api";
import type { Checkpoint, Run } from "./api";
import { bytes, moment, num, seconds, short, toneOf } from "./format";
import { Badge, Card, Problem, Table, useLoaded } from "./ui";

export function CheckpointsPage({ run }: { run: Run }) {
  const name = run.spec.run;
  const { value, error } = useLoaded<{ checkpoints: Checkpoint[] }>("checkpoints " + name, () =>
    get(`${runPath(name)}/checkpoints`), { run: name, what: ["checkpoint"] });
  const rows = [...(value?.checkpoints ?? [])].sort((a, b) =>
    num(b.step) - num(a.step) || num(b.attempt) - num(a.attempt));
  return <>
    <Problem error={error} />
    <Card title="Checkpoints" aside={<span class="quiet">only this ledger says which ones count</span>}>
      <Table label="Checkpoints" rows={rows.slice(0, 500)} keyOf={(c) => `${c.step}:${c.attempt}`} empty="none yet" columns={[
        { name: "step", number: true, cell: (c) => short(num(c.step)) },
        { name: "trust", cell: (c) => <Badge tone={toneOf(c.state)}>{c.state}</Badge> },
        { name: "attempt", number: true, cell: (c) => short(num(c.attempt)) },
        { name: "shards", number: true, cell: (c) => short(c.shards.length) },
        { name: "size", number: true, cell: (c) => bytes(num(c.size_bytes)) },
        { name: "took", number: true, cell: (c) => seconds(c.save_seconds) },
        { name: "saved", cell: (c) => moment(num(c.saved_unix_ms)) },
        { name: "note", cell: (c) => num(c.step) === num(run.checkpoint_step) && c.state !== "distrusted"
          ? <b>a restart would use it</b> : c.reason },
        { name: "", cell: (c) => ["complete", "verified", "trusted"].includes(c.state) &&
          <ActionButton action="rollback" run={name} step={num(c.step)} /> },
      ]} />
    </Card>
  </>;
}
