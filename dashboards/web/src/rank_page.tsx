// One rank's history against its run's.

import { useMemo, useRef } from "preact/hooks";
import { call, get, orElse, runPath } from "./api";
import type { Incident, RankSeries, Run } from "./api";
import { Chart } from "./chart";
import { mergeCurve } from "./curves";
import type { Columns } from "./curves";
import { num, percent, plural, seconds, short } from "./format";
import { bandsOf, IncidentTable } from "./incident_table";
import { compare, NEWEST_STEPS, rangeToRead, rankColumns, runColumns } from "./rank_series";
import type { Range } from "./rank_series";
import { hashOf, rankHash } from "./route";
import type { Route } from "./route";
import { Card, Problem, Tile, useLoaded } from "./ui";

const BUCKETS = 10_000;
const SECONDS = "METRIC_STEP_SECONDS";
const METRICS = [SECONDS, "METRIC_COMPUTE_SECONDS", "METRIC_LOSS"] as const;

interface History { range: Range; ranks: Columns[]; run: Columns; compute: Columns | null; }
const NOTHING: Columns = { step: [], attempt: [], value: [], nonfinite_steps: [] };

// The last value of the curve, for its caption.
function newestOf(columns: Columns): number {
  for (let i = columns.step.length - 1; i >= 0; i--) {
    if (columns.value[i] !== null) return columns.value[i]!;
  }
  return NaN;
}

function GoTo({ run, rank }: { run: Run; rank: number }) {
  const last = run.world_size - 1;
  return <nav class="goto" aria-label="Other ranks">
    {rank > 0 && <a href={rankHash(run.spec.run, rank - 1)}>‹ rank {rank - 1}</a>}
    <label class="quiet">rank <input type="number" min={0} max={last} value={rank} aria-label="Go to rank"
      onChange={(event) => {
        const next = Math.floor(Number(event.currentTarget.value));
        if (next >= 0 && next <= last) location.hash = rankHash(run.spec.run, next);
      }} /></label>
    {rank < last && <a href={rankHash(run.spec.run, rank + 1)}>rank {rank + 1} ›</a>}
  </nav>;
}

export function RankPage({ run, route }: { run: Run; route: Route }) {
  const { rank } = route;
  const name = run.spec.run;
  const path = runPath(name);
  // What the reading below asks for is always the newest picture of the run.
  const latest = useRef(run);
  latest.current = run;
  const { value, error } = useLoaded<History>(`rank ${name} ${rank} ${route.from} ${route.to}`, async () => {
    const { max_step, world_size } = latest.current;
    const steps = rangeToRead(route.from, route.to, num(max_step), world_size);
    const range = `from=${steps.from}&to=${steps.to}&buckets=${BUCKETS}`;
    const [curve, mean, ...ranks] = await Promise.all([
      get<Columns>(`${path}/curve?${range}`),
      orElse(get<Columns>(`${path}/metric?name=compute_seconds&${range}`), null),
      ...METRICS.map((metric) => call<RankSeries>("GetRankSeries",
        { run: name, rank, metric, from_step: String(steps.from), to_step: String(steps.to) }))]);
    const compute = mean && runColumns(mean, "mean");
    return { range: steps, run: curve, compute, ranks: ranks.map(rankColumns) };
  }, { run: name, what: ["incident"], periodMs: 3000 });
  const incidents = useLoaded<{ incidents: Incident[] }>("incidents " + name, () =>
    get(`${path}/incidents?limit=200`), { run: name, what: ["incident"] });
  const node = run.placement?.find((p) => p.ranks.includes(rank))?.node ?? "";
  const own = (incidents.value?.incidents ?? []).filter((i) => i.culprit && (i.culprit.rank === rank ||
    (i.culprit.rank < 0 && node !== "" && i.culprit.node === node)));
  const [time, compute, loss] = value?.ranks ?? [NOTHING, NOTHING, NOTHING];
  const newest = time.step[time.step.length - 1] ?? 0;
  const bands = useMemo(() => bandsOf(own, newest), [incidents.value, newest, node]);
  const drawn = useMemo(() => {
    const other = (curve: string) => value && runColumns(value.run, curve);
    const merge = (kept: Columns, beside: Columns | null) => mergeCurve(kept, beside, "value", "value", "value");
    return { time: merge(time, other("step_seconds")), compute: merge(compute, value?.compute ?? null),
             loss: merge(loss, other("loss")) };
  }, [value]);
  const against = useMemo(() => compare(time, value ? runColumns(value.run, "step_seconds") : NOTHING), [value]);
  const times = (ratio: number) => (Number.isFinite(ratio) ? ratio.toFixed(2) + " ×" : "–");
  const zoom = (from: number, to: number) => { location.hash = rankHash(name, rank, from, to); };
  if (rank >= run.world_size) {
    return <p class="card">Run {name} has no rank {rank}: its ranks are 0 to {run.world_size - 1}.{" "}
      <a href={hashOf("run", name)}>Back to the run</a></p>;
  }
  return <>
    <Problem error={error} />
    <div class="tiles">
      <Tile name="Rank" value={short(rank)} small={`of ${short(run.world_size)}`} />
      <Tile name="Node" value={node || "–"} small={node ? "placed there now" : "not placed now"} />
      <Tile name="Step time" value={seconds(against.mean)} small={`mean of ${plural(against.steps, "step")}`} />
      <Tile name="Against the median" value={times(against.newest)}
        tone={against.newest >= 1.1 ? "warn" : undefined} small={`the newest ${NEWEST_STEPS} steps shown`} />
      <Tile name="Over all steps shown" value={times(against.ratio)}
        small={against.steps > 0 ? `over 1.1 × in ${percent(against.slowShare)} of them` : ""} />
      <Tile name="Incidents" value={short(own.length)} small="of this rank or its node" />
    </div>
    <div class="toolbar">
      <span class="quiet">{route.to > 0
        ? <>steps {short(value?.range.from ?? route.from)} to {short(route.to)}
          {value?.range.isNarrowed && ", the newest that can be read at once"} · <a href={rankHash(name, rank)}>the
          newest</a></>
        : <>the newest {plural(time.step.length, "step")} · <a href={rankHash(name, rank, 0, Math.max(1, num(run.max_step)))}>all
          steps</a> · drag over a chart to look closer</>}</span>
      <GoTo run={run} rank={rank} />
    </div>
    <div class="charts">
      <Chart title="Step time" unit="s, dashed: median of the ranks" colour="--teal" curve={drawn.time} bands={bands} beside="run"
        floor={0} show={seconds} now={seconds(newestOf(time))} onRange={zoom} />
      <Chart title="Compute time" unit={value && !value.compute ? "s" : "s, dashed: mean of the ranks"} colour="--gold"
        curve={drawn.compute} bands={bands} beside="run" floor={0} show={seconds} empty="not reported by this rank"
        now={compute.step.length > 0 ? seconds(newestOf(compute)) : ""} onRange={zoom} />
      <Chart title="Loss" unit="dashed: of the run" colour="--blue" curve={drawn.loss} bands={bands} beside="run"
        empty="not reported by this rank" now={loss.step.length > 0 ? short(newestOf(loss)) : ""} onRange={zoom} />
    </div>
    <Card title="Incidents of this rank or its node"><IncidentTable incidents={own} empty="none" /></Card>
  </>;
}
