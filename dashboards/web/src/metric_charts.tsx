// The named metrics of a run as small charts, a group of them together. They
// share the cursor of the large ones. Closed groups and those not yet scrolled
// to cost nothing.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { get, orElse } from "./api";
import { Chart } from "./chart";
import type { Band } from "./chart";
import { mergeCurve } from "./curves";
import type { Columns } from "./curves";
import { plural, short } from "./format";
import { groupMetrics } from "./metric_groups";
import type { MetricGroup } from "./metric_groups";
import { Problem, useLoaded } from "./ui";

const BUCKETS = 300; // A pixel or so each.
const FIRST_SHOWN = 12;
// The large charts have the same.
const SHOWN_ABOVE = new Set(["loss", "grad_norm", "step_seconds"]);

const NOTHING: Columns = { step: [], attempt: [], nonfinite_steps: [] };

interface Shared { run: string; path: string; range: string; bands: Band[]; onRange: (from: number, to: number) => void; }

function newest(values: (number | null)[]): number {
  for (let i = values.length - 1; i >= 0; i--) if (values[i] !== null) return values[i]!;
  return NaN;
}

function MetricChart({ name, columns, bands, onRange }:
    { name: string; columns: Columns | undefined; bands: Band[]; onRange: Shared["onRange"] }) {
  const curve = useMemo(() => mergeCurve(columns ?? NOTHING, null, "mean", "min", "max"), [columns]);
  return <Chart title={name} colour="--gold" curve={curve} bands={bands} isSmall
    empty={columns ? "nothing reported" : "reading …"}
    now={curve.step.length > 0 ? short(newest(curve.value)) : ""} onRange={onRange} />;
}

function Charts({ names, shared }: { names: string[]; shared: Shared }) {
  const { run, range } = shared;
  // One after the other: the large charts go first where the server is busy.
  const read = useLoaded<Map<string, Columns>>(`metrics ${run} ${range} ${names.join()}`, async () => {
    const all = new Map<string, Columns>();
    for (const name of names) {
      const path = `${shared.path}/metric?name=${encodeURIComponent(name)}&${range}&buckets=${BUCKETS}`;
      all.set(name, await orElse(get<Columns>(path), NOTHING)); // In these steps.
    }
    return all;
  }, { run, periodMs: 5000 });
  return <>
    <Problem error={read.error} />
    <div class="charts small">{names.map((name) => <MetricChart key={name} name={name}
      columns={read.value?.get(name)} bands={shared.bands} onRange={shared.onRange} />)}</div>
  </>;
}

function Group({ group, shared }: { group: MetricGroup; shared: Shared }) {
  const box = useRef<HTMLDetailsElement>(null);
  const [isOpen, setOpen] = useState(group.isOpen);
  const [wasSeen, setSeen] = useState(false);
  const [showsAll, setShowsAll] = useState(false);
  useEffect(() => {
    const watch = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) setSeen(true);
    }, { rootMargin: "200px" });
    watch.observe(box.current!);
    return () => watch.disconnect();
  }, []);
  const names = showsAll ? group.names : group.names.slice(0, FIRST_SHOWN);
  // As many of the four columns as it has charts.
  const columns = isOpen ? Math.min(4, names.length) : 1;
  return <details class={`group span${columns}`} ref={box} open={isOpen}
      onToggle={(event) => setOpen(event.currentTarget.open)}>
    <summary><h3>{group.title}</h3> <span class="quiet">{plural(group.names.length, "metric")}</span></summary>
    {isOpen && wasSeen && <Charts names={names} shared={shared} />}
    {isOpen && names.length < group.names.length && <button type="button" onClick={() => setShowsAll(true)}>
      show all {group.names.length}</button>}
  </details>;
}

export function MetricGroups({ names, ...shared }: Shared & { names: string[] }) {
  const groups = groupMetrics(names.filter((name) => !SHOWN_ABOVE.has(name)));
  if (groups.length === 0) return null;
  return <section class="groups" aria-label="Metrics">{groups.map((group) =>
    <Group key={group.title} group={group} shared={shared} />)}</section>;
}
