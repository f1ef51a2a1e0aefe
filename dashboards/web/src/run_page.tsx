// One run: what is going on, its curves, its ranks, its incidents.

import { useMemo, useRef } from "preact/hooks";
import { get, runPath } from "./api";
import type { Checkpoint, Heatmap as HeatReply, Incident, Report, Run } from "./api";
import { Chart } from "./chart";
import { mergeCurve } from "./curves";
import type { Columns } from "./curves";
import { hasFigures } from "./fleet_order";
import { compact, num, percent, plural, seconds, short, step, words } from "./format";
import { Heatmap } from "./heatmap";
import { bandsOf, culprit, IncidentTable, Verdict } from "./incident_table";
import { MetricGroups } from "./metric_charts";
import { hashOf } from "./route";
import type { Route } from "./route";
import { Card, Problem, Tile, useLoaded } from "./ui";

function Tiles({ run, incidents, checkpoints, report }: {
  run: Run; incidents: Incident[]; checkpoints: Checkpoint[]; report: Report | null }) {
  const target = num(run.spec.target_steps);
  const at = num(run.step);
  const pace = num(run.step_seconds);
  const isKnown = hasFigures(run);
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
    <Tile name="Loss" value={isKnown ? short(num(run.loss)) : "–"}
      tone={isKnown && Number.isNaN(num(run.loss)) && run.phase === "running" ? "bad" : undefined}
      small={isKnown ? `gradient norm ${short(num(run.grad_norm))}` : ""} />
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
  const lastOf = (values: (number | null)[]) => {
    for (let i = values.length - 1; i >= 0; i--) if (values[i] !== null) return values[i]!;
    return NaN;
  };
  const zoom = (from: number, to: number) => { location.hash = hashOf("run", name, from, to); };
  return <>
    <Verdict run={run} />
    <Tiles run={run} incidents={list} checkpoints={checkpoints.value?.checkpoints ?? []}
      report={report.value} />
    <Problem error={curves.error || heat.error || incidents.error} />
    <div class="toolbar">
      <span class="quiet">{route.to > 0
        ? <>steps {short(route.from)} to {short(route.to)} · <a href={hashOf("run", name)}>all steps</a></>
        : "drag over a chart to look closer"}</span>
    </div>
    <div class="charts">
      <Chart title="Loss" colour="--blue" curve={loss} bands={bands}
        now={hasFigures(run) ? short(num(run.loss)) : ""} onRange={zoom} />
      <Chart title="Gradient norm" colour="--violet" curve={norm} bands={bands} floor={0}
        now={hasFigures(run) ? short(num(run.grad_norm)) : ""} onRange={zoom} />
      <Chart title="Step time" unit="s, median to slowest rank" colour="--teal" curve={time}
        bands={bands} floor={0} show={seconds}
        now={seconds(lastOf(time.value))} onRange={zoom} />
    </div>
    {heat.value && <Heatmap reply={heat.value} run={name} />}
    {curves.value && <MetricGroups names={metrics.value?.names ?? []} run={name} path={path}
      range={range} bands={bands} onRange={zoom} />}
    <Card title="Incidents" aside={<span class="quiet">{plural(list.length, "incident")}</span>}>
      <IncidentTable incidents={list} />
    </Card>
  </>;
}
