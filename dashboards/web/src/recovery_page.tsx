// Recovery as it goes: the phase, who has acknowledged, what comes next.

import { HoldButton, MuteButtons } from "./actions";
import { get, runPath } from "./api";
import type { Incident, NodeView, Run } from "./api";
import { isEnded } from "./fleet_order";
import { clock, num, plural, seconds, short, toneOf } from "./format";
import { aliveOn, ranksOf } from "./node_ranks";
import { IncidentTable, Verdict } from "./incident_table";
import { Badge, Card, Problem, Table, Tile, useLoaded } from "./ui";

const PHASES = ["stopping", "placing", "verifying", "starting", "running"];

// What a node has shown of the attempt that is being stopped or started.
function ack(node: NodeView | undefined, run: Run): string {
  if (!node) return "never heard";
  if (node.status !== "connected") return `${node.status}, heard ${seconds(node.heard_age_seconds)} ago`;
  const shown = ranksOf(node, run.spec.run);
  const attempt = num(run.attempt);
  if (!shown) return "shows nothing of this run";
  const old = shown.ranks.filter((r) => num(r.attempt) < attempt && r.life !== "RANK_LIFE_EXITED").length;
  if (old > 0) return `${plural(old, "rank")} of the old attempt not gone yet`;
  if (num(shown.floor) < attempt) return `floor ${shown.floor}, not raised to ${attempt} yet`;
  if (num(shown.started) < attempt) return "all gone, ready to start";
  return `attempt ${attempt}: ${plural(aliveOn(node, run.spec.run), "rank")} alive`;
}

export function RecoveryPage({ run }: { run: Run }) {
  const name = run.spec.run;
  const nodes = useLoaded<{ nodes: NodeView[] }>("nodes", () => get("nodes"),
    { what: ["run", "node"], periodMs: 2000 });
  const incidents = useLoaded<{ incidents: Incident[] }>("open " + name, () =>
    get(`${runPath(name)}/incidents?open=1`), { run: name, what: ["incident"] });
  const byName = new Map((nodes.value?.nodes ?? []).map((n) => [n.state.node, n]));
  const at = PHASES.indexOf(run.phase);
  return <>
    <Verdict run={run} />
    <Problem error={nodes.error} />
    <Card title="Phase" aside={<><span class="quiet">since {clock(num(run.phase_since_unix_ms))}</span>
        {!isEnded(run) && <span class="actions right"><HoldButton run={run} /><MuteButtons run={run} /></span>}</>}>
      <ol class="phases">{PHASES.map((phase, i) =>
        <li class={i === at ? "now" : i < at ? "past" : ""} aria-current={i === at ? "step" : undefined}>
          {phase}</li>)}
        {at < 0 && <li class="now" aria-current="step">{run.phase}</li>}</ol>
    </Card>
    <div class="tiles">
      <Tile name="Attempt" value={short(num(run.attempt))} small={run.phase_reason} />
      <Tile name="Resumes from" value={num(run.checkpoint_step) < 0 ? "the beginning"
        : "step " + short(num(run.checkpoint_step))} small="newest usable checkpoint" />
      <Tile name="Budget" value={short(run.restarts_left)} small="restarts left"
        tone={run.restarts_left === 0 ? "bad" : undefined} />
      <Tile name="Ranks alive" value={`${short(run.ranks_alive)} / ${short(run.world_size)}`} />
    </div>
    <Card title="Nodes of this run" aside={<span class="quiet">who has acknowledged</span>}>
      <Table label="Nodes of this run" rows={run.placement ?? []} keyOf={(p) => p.node} empty="none is placed"
        columns={[
          { name: "node", cell: (p) => p.node },
          { name: "ranks", cell: (p) => p.ranks.length ? `${p.ranks[0]}–${p.ranks[p.ranks.length - 1]}` : "" },
          { name: "state", cell: (p) => {
            const status = byName.get(p.node)?.status ?? "unknown";
            return <Badge tone={toneOf(status)}>{status}</Badge>;
          } },
          { name: "shows", cell: (p) => ack(byName.get(p.node), run) },
        ]} />
    </Card>
    <Card title="Open incidents"><IncidentTable incidents={incidents.value?.incidents ?? []} empty="none" /></Card>
  </>;
}
