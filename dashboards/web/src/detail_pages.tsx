// The quieter screens: recovery, nodes, checkpoints, time, policy, audit.

import { get, runPath } from "./api";
import type { Audit, Checkpoint, Incident, NodeView, Report, Run } from "./api";
import { ActionButton } from "./actions";
import { bytes, clock, moment, num, percent, plural, SHAPES, seconds, short, toneOf, words } from "./format";
import { hashOf } from "./route";
import { IncidentTable, Verdict } from "./run_page";
import { Badge, Card, Problem, Table, Tile, useLoaded } from "./ui";

const PHASES = ["stopping", "placing", "verifying", "starting", "running"];

const ranksOf = (node: NodeView, run: string) =>
  node.state.runs.find((r) => r.run === run);
const aliveOn = (node: NodeView, run: string) =>
  (ranksOf(node, run)?.ranks ?? []).filter((r) => r.life !== "RANK_LIFE_EXITED").length;

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
    <Card title="Phase" aside={<span class="quiet">since {clock(num(run.phase_since_unix_ms))}</span>}>
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

export function TimePage({ run }: { run: Run }) {
  const name = run.spec.run;
  const { value, error } = useLoaded<Report>("report " + name, () => get(`${runPath(name)}/report`),
    { run: name, what: ["incident"], periodMs: 5000 });
  if (!value) return <Problem error={error} />;
  const wall = num(value.wall_seconds);
  const parts: [string, number][] = [["productive", num(value.productive_seconds)],
    ...Object.entries(value.lost_seconds).filter(([n, s]) => n !== "productive" && s > 0)
      .sort((a, b) => b[1] - a[1])];
  const sum = parts.reduce((all, [, s]) => all + s, 0);
  let x = 0;
  const bars = parts.map(([part, s], i) => {
    const bar = <rect x={x} y={0} width={(s / (sum || 1)) * 1000} height={28} class={"part p" + Math.min(i, 8)}>
      <title>{words(part)}: {seconds(s)}</title></rect>;
    x += (s / (sum || 1)) * 1000;
    return bar;
  });
  return <>
    <Problem error={error} />
    <div class="tiles">
      <Tile name="ETTR" value={percent(num(value.ettr))} small="productive of wall time" />
      <Tile name="Wall time" value={seconds(wall)} small={plural(num(value.attempts), "attempt")} />
      <Tile name="Failures" value={short(num(value.failures))} small="unplanned ends of an attempt" />
      <Tile name="MTBF" value={num(value.mtbf_seconds) > 0 ? seconds(num(value.mtbf_seconds)) : "–"} small="between failures" />
      <Tile name="MTTR" value={num(value.mttr_seconds) > 0 ? seconds(num(value.mttr_seconds)) : "–"} small="onset to first new step" />
    </div>
    <Card title="Where the time went" aside={<span class="quiet">
        the parts sum to {seconds(sum)} of {seconds(wall)} wall time</span>}>
      <svg class="ledger" viewBox="0 0 1000 28" preserveAspectRatio="none" role="img"
        aria-label={parts.map(([n, s]) => `${words(n)} ${seconds(s)}`).join(", ")}>{bars}</svg>
      <Table label="Time by cause" rows={parts.map((p, i) => ({ name: p[0], s: p[1], i }))} keyOf={(p) => p.name} empty="" columns={[
        { name: "cause", cell: (p) => <><svg class="swatch" viewBox="0 0 1 1" aria-hidden="true">
          <rect width="1" height="1" class={"part p" + Math.min(p.i, 8)} /></svg>{words(p.name)}</> },
        { name: "time", number: true, cell: (p) => seconds(p.s) },
        { name: "share", number: true, cell: (p) => percent(p.s / (sum || 1)) },
        { name: "rank-hours", number: true, cell: (p) => short((p.s * run.world_size) / 3600) },
      ]} />
    </Card>
  </>;
}

export function PolicyPage({ run }: { run: Run }) {
  const name = run.spec.run;
  const { value, error } = useLoaded<{ file: string; toml: string; is_default: boolean }>(
    "policy " + name, () => get(`${runPath(name)}/policy`), { periodMs: 60_000 });
  return <>
    <Problem error={error} />
    {value && <Card title="Policy in force" aside={<span class="quiet">
        {value.is_default ? "the default policy" : `from ${value.file || "the launch"}`}</span>}>
      <pre tabIndex={0} class="policy">{value.toml}</pre></Card>}
  </>;
}

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
