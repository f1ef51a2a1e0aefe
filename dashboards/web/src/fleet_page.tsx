// All runs, the worst first; a run that says nothing is on top, never dropped.

import type { Run } from "./api";
import { hasFigures, isEnded, toneOfRun, wordOfRun, worstFirst, isSilent } from "./fleet_order";
import { num, percent, plural, seconds, short, step } from "./format";
import { hashOf } from "./route";
import { Sparkline } from "./sparkline";
import { Badge, Card, Table } from "./ui";

function StepCell({ run }: { run: Run }) {
  const target = num(run.spec.target_steps);
  const pace = num(run.step_seconds);
  const left = target > 0 && run.phase === "running" && pace > 0
    ? (target - 1 - num(run.step)) * pace : 0;
  return <>{step(num(run.step))}{target > 0 && <span class="quiet"> / {short(target)}</span>}
    {left > 0 && <div class="quiet small">{seconds(left)} left</div>}</>;
}

function LossCell({ run }: { run: Run }) {
  const now = !hasFigures(run) || isEnded(run) ? "" : short(num(run.loss));
  const line = (run.loss_line ?? []).map(num);
  if (!now && line.length < 2) return <>–</>;
  return <span class="losscell">{line.length >= 2 &&
    <Sparkline values={line} label={`Loss of ${run.spec.run}`} />}{now}</span>;
}

const goodput = (run: Run) => {
  const over = num(run.goodput_seconds);
  return over > 0 ? <span title={`of the newest ${seconds(over)}`}>{percent(num(run.goodput))}</span> : "–";
};

export function FleetPage({ runs, filter, setFilter }: {
  runs: Run[]; filter: string; setFilter: (text: string) => void }) {
  const text = filter.toLowerCase();
  const shown = worstFirst(runs).filter((run) => !text ||
    [run.spec.run, run.phase, run.verdict, wordOfRun(run), run.policy_mode ?? "", run.is_held ? "held" : ""]
      .join(" ").toLowerCase().includes(text));
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
        { name: "state", cell: (run) => <><Badge tone={toneOfRun(run)}>{wordOfRun(run)}</Badge>
          {run.is_held && <>{" "}<Badge tone="warn"><span title={run.hold_reason}>held</span></Badge></>}</> },
        { name: "run", cell: (run) => <a class="name" href={hashOf("run", run.spec.run)}>{run.spec.run}</a> },
        { name: "verdict", cell: (run) => isSilent(run)
          ? `No report for ${seconds(num(run.progress_age_seconds))}. ${run.verdict}` : run.verdict },
        { name: "step", number: true, cell: (run) => <StepCell run={run} /> },
        { name: "step time", number: true, cell: (run) =>
          seconds(num(run.step_seconds) > 0 ? num(run.step_seconds) : NaN) },
        { name: "loss", number: true, cell: (run) => <LossCell run={run} /> },
        { name: "goodput", number: true, cell: goodput },
        { name: "ranks", number: true, cell: (run) => `${short(run.ranks_alive)} / ${short(run.world_size)}` },
        { name: "open incidents", number: true, cell: (run) => short(run.open_incidents) },
        { name: "checkpoint", number: true, cell: (run) => step(num(run.checkpoint_step)) },
        { name: "restarts left", number: true, cell: (run) => isEnded(run) ? "–" : short(run.restarts_left) },
        { name: "policy", cell: (run) => run.policy_mode || "–" },
      ]} />
  </Card>;
}
