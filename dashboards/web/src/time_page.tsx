// Where the time of a run went; the parts sum to the wall time.

import { get, runPath } from "./api";
import type { Report, Run } from "./api";
import { num, percent, plural, seconds, short, words } from "./format";
import { Card, Problem, Table, Tile, useLoaded } from "./ui";

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
