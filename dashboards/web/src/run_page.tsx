// One run: what is going on, its curves, its ranks, its incidents.

import { useMemo, useRef, useState } from "preact/hooks";
import { get, runPath } from "./api";
import type { Checkpoint, Heatmap as HeatReply, Incident, Report, Run } from "./api";
import { Chart } from "./chart";
import type { Band } from "./chart";
import { mergeCurve } from "./curves";
import type { Columns } from "./curves";
import { clock, compact, num, percent, plural, seconds, short, step, toneOf, words } from "./format";
import { Heatmap } from "./heatmap";
import { hashOf } from "./route";
import type { Route } from "./route";
import { Badge, Card, Problem, Table, Tile, useLoaded } from "./ui";

export const culprit = (incident: Incident): string => {
  const { node = "", rank = -1 } = incident.culprit ?? {};
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

function bandsOf(incidents: Incident[], newest: number): Band[] {
  return incidents.filter((i) => num(i.step) >= 0).map((i) => ({
    from: num(i.step),
    to: i.state === "open" ? newest : num(i.step) + num(i.steps_lost),
    isOpen: i.state === "open",
    title: i.kind,
  }));
}

function Tiles({ run, incidents, checkpoints, report }: {
  run: Run; incidents: Incident[]; checkpoints: Checkpoint[]; report: Report | null }) {
  const target = num(run.spec.target_steps);
  const at = num(run.step);
  const pace = num(run.step_seconds);
  const left = target > 0 && pace > 0 && run.phase === "running" ? (target - 1 - at) * pace : NaN;
  const lost = Object.entries(report?.lost_seconds ?? {})
    .sort((a, b) => b[1] - a[1]).filter(([, s]) => s > 0);
  const total = lost.reduce((sum, [, s]) => sum + s, 0);
  const open = incidents.filter((i) => i.state === "open");
  const saved = checkpoints.find((c) => num(c.step) === num(run.checkpoint_step) &&
    c.state !== "distrusted");
  const age = saved ? (Date.now() - num(saved.saved_unix_ms)) / 1000 : NaN;
  return <div class="tiles">
    <Tile name="Step" value={step(at)} small={target > 0
      ? `of ${short(target)}${left > 0 ? " · " + seconds(left) + " left" : ""}` : "no target"} />
    <Tile name="Loss" value={at < 0 ? "–" : short(num(run.loss))}
      tone={at >= 0 && Number.isNaN(num(run.loss)) && run.phase === "running" ? "bad" : undefined}
      small={at < 0 ? "" : `gradient norm ${short(num(run.grad_norm))}`} />
    <Tile name="Step time" value={seconds(pace > 0 ? pace : NaN)}
      small={num(run.tokens_per_second) > 0 ? `${compact(num(run.tokens_per_second))} tokens/s` : ""} />
    <Tile name="Goodput" value={percent(num(report?.ettr ?? NaN))}
      small={report ? `of ${seconds(num(report.wall_seconds))}` : ""} />
    <Tile name="Lost time" value={report ? seconds(total) : "–"}
      small={lost.slice(0, 3).map(([name, s]) => `${words(name)} ${seconds(s)}`).join(" · ")} />
    <Tile name="Open incidents" value={short(open.length)} tone={open.length > 0 ? "warn" : undefined}
      small={open.length > 0 ? open.slice(0, 2).map((i) => `${words(i.kind)} · ${culprit(i)}`).join("; ")
        : `${plural(num(run.incidents), "incident")} so far`} />
    <Tile name="Last checkpoint" value={saved ? seconds(age) + " ago" : "none"}
      tone={saved ? undefined : "warn"}
      small={saved ? `step ${short(num(saved.step))} · ${saved.state}` : "a fault would start over"} />
    <Tile name="Ranks" value={`${short(run.ranks_alive)} / ${short(run.world_size)}`}
      tone={run.phase === "running" && run.ranks_alive < run.world_size ? "bad" : undefined}
      small={`attempt ${run.attempt} · ${plural(run.restarts_left, "restart")} left`} />
  </div>;
}

interface Curves { kept: Columns; gone: Columns; }
const BUCKETS = 900;

export function Verdict({ run }: { run: Run }) {
  return <section class="verdict card" aria-live="polite">
    <p class="verdict-text">{run.verdict}</p>
    <dl>
      <dt>Why</dt><dd>{run.why || run.phase_reason || "nothing out of order"}</dd>
      <dt>Next</dt><dd>{run.next}</dd>
    </dl>
  </section>;
}

export function RunPage({ run, route }: { run: Run; route: Route }) {
  const name = run.spec.run;
  const path = runPath(name);
  const range = `from=${route.from}&to=${route.to}`;
  const key = `${name}?${range}`;
  const curves = useLoaded<Curves>("curves " + key, async () => {
    const [kept, gone] = await Promise.all([
      get<Columns>(`${path}/curve?${range}&buckets=${BUCKETS}`),
      get<Columns>(`${path}/curve?${range}&buckets=${BUCKETS}&abandoned=1`)]);
    return { kept, gone };
  }, { run: name, what: ["run"], periodMs: 5000 });
  // What the reading below asks for is always the newest picture of the run.
  const latest = useRef(run);
  latest.current = run;
  const heat = useLoaded<HeatReply>("heat " + key, () => {
    // Without a range of steps: the newest five hundred.
    const from = route.to > 0 ? route.from : Math.max(0, num(latest.current.step) - 499);
    return get<HeatReply>(`${path}/heatmap?from=${from}&to=${route.to}&columns=600`);
  }, { run: name, what: ["run"], periodMs: 5000 });
  const incidents = useLoaded<{ incidents: Incident[] }>("incidents " + name, () =>
    get(`${path}/incidents?limit=200`), { run: name, what: ["incident"] });
  const checkpoints = useLoaded<{ checkpoints: Checkpoint[] }>("checkpoints " + name, () =>
    get(`${path}/checkpoints`), { run: name, what: ["checkpoint"] });
  const report = useLoaded<Report>("report " + name, () => get(`${path}/report`),
    { run: name, what: ["incident"], periodMs: 10_000 });
  const metrics = useLoaded<{ names: string[] }>("metrics " + name, () =>
    get(`${path}/metrics`), { run: name, periodMs: 60_000 });
  const [extra, setExtra] = useState("");
  const metric = useLoaded<Columns | null>(`metric ${extra} ${key}`, async () =>
    extra ? get<Columns>(`${path}/metric?name=${encodeURIComponent(extra)}&${range}&buckets=${BUCKETS}`)
      : null, { run: name, what: ["run"] });

  const list = incidents.value?.incidents ?? [];
  const steps = curves.value?.kept.step ?? [];
  const newest = steps[steps.length - 1] ?? 0;
  const bands = useMemo(() => bandsOf(list, newest), [incidents.value, newest]);
  const { loss, norm, time } = useMemo(() => {
    const kept = curves.value?.kept ?? { step: [], attempt: [], nonfinite_steps: [] };
    const gone = curves.value?.gone ?? null;
    return {
      loss: mergeCurve(kept, gone, "loss", "loss_min", "loss_max"),
      norm: mergeCurve(kept, gone, "grad_norm", "grad_norm", "grad_norm"),
      time: { ...mergeCurve(kept, gone, "step_seconds", "step_seconds", "step_seconds_max"),
              nonfinite: [] },
    };
  }, [curves.value]);
  const more = useMemo(() => metric.value &&
    mergeCurve(metric.value, null, "mean", "min", "max"), [metric.value]);
  const lastOf = (values: (number | null)[]) => {
    for (let i = values.length - 1; i >= 0; i--) if (values[i] !== null) return values[i]!;
    return NaN;
  };
  const zoom = (from: number, to: number) => { location.hash = hashOf("run", name, from, to); };
  const known = (metrics.value?.names ?? []).filter((m) => m !== "loss" && m !== "grad_norm" &&
    m !== "step_seconds");
  const groups = [...new Set(known.map((m) => (m.includes("/") ? m.split("/")[0] : "training")))];
  return <>
    <Verdict run={run} />
    <Tiles run={run} incidents={list} checkpoints={checkpoints.value?.checkpoints ?? []}
      report={report.value} />
    <Problem error={curves.error || heat.error || incidents.error} />
    <div class="toolbar">
      <span class="quiet">{route.to > 0
        ? <>steps {short(route.from)} to {short(route.to)} · <a href={hashOf("run", name)}>all steps</a></>
        : "drag over a chart to look closer"}</span>
      {known.length > 0 && <label class="quiet">one more chart{" "}
        <select value={extra} onChange={(event) => setExtra(event.currentTarget.value)}>
          <option value="">none</option>
          {groups.map((group) => <optgroup label={group}>{known.filter((m) =>
            (m.includes("/") ? m.split("/")[0] : "training") === group).map((m) =>
            <option value={m}>{m}</option>)}</optgroup>)}
        </select></label>}
    </div>
    <div class="charts">
      <Chart title="Loss" colour="--blue" curve={loss} bands={bands}
        now={num(run.step) < 0 ? "" : short(num(run.loss))} onRange={zoom} />
      <Chart title="Gradient norm" colour="--violet" curve={norm} bands={bands} floor={0}
        now={num(run.step) < 0 ? "" : short(num(run.grad_norm))} onRange={zoom} />
      <Chart title="Step time" unit="s, median to slowest rank" colour="--teal" curve={time}
        bands={bands} floor={0} show={seconds}
        now={seconds(lastOf(time.value))} onRange={zoom} />
      {extra && more && <Chart title={extra} colour="--gold" curve={more} bands={bands}
        now={short(lastOf(more.value))} onRange={zoom} onClose={() => setExtra("")} />}
    </div>
    {heat.value && <Heatmap reply={heat.value} />}
    <Card title="Incidents" aside={<span class="quiet">{plural(list.length, "incident")}</span>}>
      <IncidentTable incidents={list} />
    </Card>
  </>;
}
