// Who ordered what, and what became of it.

import { get, runPath } from "./api";
import type { Audit } from "./api";
import { moment, num } from "./format";
import { hashOf } from "./route";
import { Badge, Card, Problem, Table, useLoaded } from "./ui";

export function AuditPage({ run }: { run: string }) {
  const path = run ? `${runPath(run)}/audit?limit=500` : "audit?limit=500";
  const { value, error } = useLoaded<{ entries: Audit[] }>("audit " + run, () => get(path),
    { run, what: ["audit"], periodMs: 10_000 });
  return <>
    <Problem error={error} />
    <Card title="Audit" aside={<span class="quiet">each entry holds the hash of the one before</span>}>
      <Table label="Audit" rows={value?.entries ?? []} keyOf={(e) => String(e.seq)} empty="nothing was ordered yet" columns={[
        { name: "#", number: true, cell: (e) => e.seq },
        { name: "when", cell: (e) => moment(num(e.unix_ms)) },
        { name: "who", cell: (e) => e.actor },
        { name: "what", cell: (e) => e.action },
        { name: "run", cell: (e) => e.run ? <a href={hashOf("run", e.run)}>{e.run}</a> : "" },
        { name: "why", cell: (e) => e.reason },
        { name: "outcome", cell: (e) => <Badge tone={e.outcome.startsWith("refused") ? "bad" : "good"}>{e.outcome}</Badge> },
        { name: "hash", cell: (e) => <code title={e.hash}>{e.hash.slice(0, 8)}</code> },
      ]} />
    </Card>
  </>;
}
