// All runs, the worst first; a run that says nothing is on top, never dropped.

import type { Run } from "./api";
import { isEnded, toneOfRun, wordOfRun, worstFirst, isSilent } from "./fleet_order";
import { num, plural, seconds, short, step } from "./format";
import { hashOf } from "./route";
import { Badge, Card, Table } from "./ui";

export function FleetPage({ runs, filter, setFilter }: {
  runs: Run[]; filter: string; setFilter: (text: string) => void }) {
  const text = filter.toLowerCase();
  const shown = worstFirst(runs).filter((run) => !text ||
    [run.spec.run, run.phase, run.verdict, wordOfRun(run)].join(" ").toLowerCase().includes(text));
  const live = runs.filter((run) => !isEnded(run));
  return <Card title="Runs" aside={<>
      <span class="quiet">{plural(live.length, "live run")}, {short(runs.length - live.length)} ended</span>
      <input id="filter" type="search" placeholder="filter  ( / )" aria-label="Filter runs"
        value={filter} onInput={(event) => setFilter(event.currentTarget.value)} /></>}>
    <Table label="Runs" rows={shown} keyOf={(run) => run.spec.run}
      empty={runs.length === 0
        ? "no run yet; start one: steadyrun run --nodes 2 --ranks-per-node 2 -- python3 train.py"
        : "no run matches the filter"}
      open={(run) => { location.hash = hashOf("run", run.spec.run); }}
      columns={[
        { name: "state", cell: (run) => <Badge tone={toneOfRun(run)}>{wordOfRun(run)}</Badge> },
        { name: "run", cell: (run) => <a href={hashOf("run", run.spec.run)}>{run.spec.run}</a> },
        { name: "verdict", cell: (run) => isSilent(run)
          ? `No report for ${seconds(num(run.progress_age_seconds))}. ${run.verdict}` : run.verdict },
        { name: "step", number: true, cell: (run) => {
          const target = num(run.spec.target_steps);
          return <>{step(num(run.step))}{target > 0 && <span class="quiet"> / {short(target)}</span>}</>;
        } },
        { name: "time left", number: true, cell: (run) => {
          const left = num(run.spec.target_steps) > 0 && run.phase === "running" &&
            num(run.step_seconds) > 0
            ? (num(run.spec.target_steps) - 1 - num(run.step)) * num(run.step_seconds) : NaN;
          return seconds(left);
        } },
        { name: "step time", number: true, cell: (run) =>
          seconds(num(run.step_seconds) > 0 ? num(run.step_seconds) : NaN) },
        { name: "loss", number: true, cell: (run) => num(run.step) < 0 || isEnded(run) ? "–" : short(num(run.loss)) },
        { name: "ranks", number: true, cell: (run) => `${short(run.ranks_alive)} / ${short(run.world_size)}` },
        { name: "open incidents", number: true, cell: (run) => short(run.open_incidents) },
        { name: "checkpoint", number: true, cell: (run) => step(num(run.checkpoint_step)) },
        { name: "restarts left", number: true, cell: (run) => isEnded(run) ? "–" : short(run.restarts_left) },
      ]} />
  </Card>;
}
