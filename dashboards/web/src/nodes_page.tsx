// All nodes, as a grid of states and as a table.

import { ActionButton } from "./actions";
import { get } from "./api";
import type { NodeView } from "./api";
import { num, SHAPES, seconds, short, toneOf } from "./format";
import { aliveOn } from "./node_ranks";
import { hashOf } from "./route";
import { Badge, Card, Problem, Table, useLoaded } from "./ui";

export function NodesPage() {
  const { value, error } = useLoaded<{ nodes: NodeView[] }>("nodes", () => get("nodes"),
    { what: ["node"], periodMs: 2000 });
  const nodes = value?.nodes ?? [];
  const count = (status: string) => nodes.filter((n) => n.status === status).length;
  return <>
    <Problem error={error} />
    <Card title="Nodes" aside={<span class="quiet">{["connected", "silent", "lost", "quarantined"].map((s) =>
        `${short(count(s))} ${s}`).join(" · ")}</span>}>
      <ul class="grid">{nodes.map((n) => {
        const tone = toneOf(n.status);
        return <li class={"cell " + tone} title={`${n.state.node}: ${n.status}, ${n.serving_run || "spare"}`}>
          <i aria-hidden="true">{SHAPES[tone]}</i>{n.state.node}
          <span class="quiet">{n.serving_run || "spare"}</span></li>;
      })}</ul>
    </Card>
    <Card title="Details">
      <Table label="Node details" rows={nodes} keyOf={(n) => n.state.node} empty="no agent has connected" columns={[
        { name: "node", cell: (n) => n.state.node },
        { name: "state", cell: (n) => <Badge tone={toneOf(n.status)}>{n.status}</Badge> },
        { name: "run", cell: (n) => n.serving_run
          ? <a href={hashOf("run", n.serving_run)}>{n.serving_run}</a> : "spare" },
        { name: "ranks alive", number: true, cell: (n) => short(aliveOn(n, n.serving_run)) },
        { name: "heard", number: true, cell: (n) => n.heard_age_seconds < 1 ? "now" : seconds(n.heard_age_seconds) + " ago" },
        { name: "spooled", number: true, cell: (n) => short(num(n.state.spooled_reports)) },
        { name: "incidents", number: true, cell: (n) => short(n.incidents) },
        { name: "agent", cell: (n) => n.state.version },
        { name: "", cell: (n) => n.status === "quarantined"
          ? <><span class="quiet">{n.quarantine_reason} </span><ActionButton action="release" node={n.state.node} /></>
          : <ActionButton action="quarantine" node={n.state.node} /> },
      ]} />
    </Card>
  </>;
}
