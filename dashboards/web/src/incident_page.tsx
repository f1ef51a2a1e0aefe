// One incident, from the first evidence to the verified recovery.

import { get } from "./api";
import type { Run, Story } from "./api";
import { readEvidence } from "./evidence";
import { clock, moment, num, seconds, short, step, toneOf, words } from "./format";
import { culprit, IncidentTable } from "./incident_table";
import { rankHash } from "./route";
import { Collectives, Stacks, Standing } from "./standing";
import { Badge, Card, Problem, Tile, useLoaded } from "./ui";

const ending = (exit: { code: number; signal: number } | null) =>
  exit && exit.signal ? `signal ${exit.signal}` : `exit code ${exit?.code ?? 0}`;

export function IncidentPage({ id, run }: { id: string; run: Run | undefined }) {
  const { value, error } = useLoaded<Story>("story " + id, () =>
    get(`incidents/${encodeURIComponent(id)}/story`),
    { run: run?.spec.run, what: ["incident", "decision", "exit"] });
  if (!value) return <Problem error={error} />;
  const { incident, exits, decisions, similar } = value;
  const onset = num(incident.onset_unix_ms);
  const evidence = readEvidence(incident.evidence);
  const rank = incident.culprit?.rank ?? -1;
  const first = exits.find((e) => e.exit.last_log_lines.length > 0);
  // The lines of the log are shown below, in full.
  const plain = evidence.plain.filter((line) => !first || !line.startsWith(`rank ${first.exit.rank} log: `));
  const recovered = num(incident.recovered_unix_ms) > 0;
  const since = (ms: number) => (ms - onset >= 0 ? "+" : "−") + seconds(Math.abs(ms - onset) / 1000);
  return <>
    <section class="verdict card">
      <p class="verdict-text">{words(incident.kind)}: {culprit(incident)}{" "}
        <Badge tone={toneOf(incident.state)}>{incident.state}</Badge></p>
      <dl>
        <dt>Why</dt><dd>{incident.reason}</dd>
        <dt>Done</dt><dd>{words(incident.remediation)}{decisions.length > 0 &&
          `: ${decisions[decisions.length - 1].reason}`}</dd>
      </dl>
    </section>
    <Problem error={error} />
    <div class="tiles">
      <Tile name="Culprit" value={culprit(incident)} small={rank >= 0
        ? <>{incident.severity} · <a href={rankHash(incident.run, rank)}>rank {rank}'s history</a></> : incident.severity} />
      <Tile name="At step" value={step(num(incident.step))} small={`attempt ${incident.attempt}`} />
      <Tile name="Noticed after" value={seconds(incident.detection_seconds)} small={moment(onset)} />
      <Tile name="Back in" value={recovered ? seconds(incident.recovery_seconds) : "–"}
        small={recovered ? "first new step" : "not yet"} />
      <Tile name="Steps lost" value={short(num(incident.steps_lost))} />
    </div>
    <div class="pair">
      <Card title="Timeline">
        <ol class="timeline">{incident.timeline.map((entry) => <li>
          <time>{clock(num(entry.unix_ms))}</time>
          <span class="quiet">{since(num(entry.unix_ms))}</span>
          <span>{entry.text}</span></li>)}</ol>
      </Card>
      <Card title="Evidence">
        {plain.length > 0
          ? <ul class="evidence">{plain.map((line) => <li>{line}</li>)}</ul>
          : <p class="quiet">{incident.evidence.length > 0 ? "see below" : "none kept"}</p>}
      </Card>
    </div>
    {evidence.stands.length > 0 && <Standing incident={incident} stands={evidence.stands} />}
    {evidence.collectives.length > 0 && <Collectives list={evidence.collectives} />}
    {evidence.stacks.length > 0 && <Stacks list={evidence.stacks} />}
    <Card title="Decisions">
      {decisions.length === 0 ? <p class="quiet">none</p>
        : <ol class="timeline">{decisions.map((d) => <li><time>{clock(num(d.unix_ms))}</time>
            <b>{words(d.action)}</b><span>{d.reason}</span></li>)}</ol>}
    </Card>
    <Card title="Last log lines" aside={first && <span class="quiet">
        rank {first.exit.rank} on {first.node}, {ending(first.exit.exit)} at step {step(num(first.exit.step))}</span>}>
      {first ? <pre tabIndex={0}>{first.exit.last_log_lines.join("\n")}</pre>
        : <p class="quiet">no rank of this attempt ended by itself</p>}
    </Card>
    {exits.length > 1 && <Card title="Other ranks that ended">
      <ul class="evidence">{exits.filter((e) => e !== first).map((e) => <li>
        rank {e.exit.rank} on {e.node}: {ending(e.exit.exit)} {e.exit.error}
        {e.exit.is_secondary && <span class="quiet"> (tells of a peer's death)</span>}</li>)}</ul>
    </Card>}
    <Card title="Similar incidents"><IncidentTable incidents={similar} empty="none before" /></Card>
  </>;
}
