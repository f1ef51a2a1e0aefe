// Who arrived and who did not, when a run stood still; what the ranks told of
// their collectives and stacks.

import type { Incident } from "./api";
import { isMissing, stateWord } from "./evidence";
import type { Collective, Stack, Stand } from "./evidence";
import { short } from "./format";
import { rankGroups } from "./heat";
import { rankHash } from "./route";
import { Badge, Card, Table } from "./ui";

export function Standing({ incident, stands }: { incident: Incident; stands: Stand[] }) {
  const missing = stands.filter((s) => isMissing(s, incident.culprit));
  const arrived = stands.filter((s) => !missing.includes(s));
  const groups = (of: Stand[]) => rankGroups(of.map((s) => s.rank));
  return <Card title="Who arrived and who did not"
    aside={<span class="quiet">where the listed ranks stood when it was noticed</span>}>
    {missing.length > 0 ? <dl class="facts arrivals">
      <dt><Badge tone="bad">did not arrive</Badge></dt><dd>{missing.length === 1 ? "rank" : "ranks"} {groups(missing)}</dd>
      {arrived.length > 0 && <><dt><Badge tone="good">arrived, waited</Badge></dt><dd>of the ranks listed: {groups(arrived)}</dd></>}
    </dl> : <p class="quiet">Which rank did not arrive is not known: they all stood at the same place.</p>}
    <div class="fit"><Table label="Where the ranks stood" rows={[...missing, ...arrived]} keyOf={(s) => String(s.rank)} empty="" columns={[
      { name: "rank", number: true, cell: (s) => <a href={rankHash(incident.run, s.rank)}>{s.rank}</a> },
      { name: "node", cell: (s) => s.node || "–" },
      { name: "", cell: (s) => missing.includes(s) ? <Badge tone="bad">did not arrive</Badge>
        : missing.length > 0 ? <Badge tone="good">waited</Badge> : "" },
      { name: "step", number: true, cell: (s) => s.step < 0 ? "none" : short(s.step) },
      { name: "phase", cell: (s) => s.phase },
      { name: "stood for", number: true, cell: (s) => s.advanced },
      { name: "process", cell: (s) => stateWord(s.state) || "–" },
      { name: "CPU", number: true, cell: (s) => s.cpu || "–" },
    ]} /></div>
  </Card>;
}

export function Collectives({ list }: { list: Collective[] }) {
  const rows = list.flatMap((c) => c.places.map((place, i) => ({ ...place, group: i === 0 ? c.group : "",
    note: i === 0 ? c.note : "", key: `${c.group} ${i}` })));
  return <Card title="Collectives" aside={<span class="quiet">how far the ranks of each communicator had come</span>}>
    <div class="fit"><Table label="Collectives" rows={rows} keyOf={(r) => r.key} empty="" columns={[
      { name: "communicator", cell: (r) => <b>{r.group}</b> },
      { name: "entered", number: true, cell: (r) => short(r.entered) },
      { name: "", cell: (r) => r.isBehind ? <Badge tone="bad">behind</Badge> : <Badge tone="good">arrived</Badge> },
      { name: "who", cell: (r) => <>{r.ranks}{r.note && <span class="quiet"> · {r.note}</span>}</> },
    ]} /></div>
  </Card>;
}

export function Stacks({ list }: { list: Stack[] }) {
  return <Card title="Stacks" aside={<span class="quiet">the innermost frame first</span>}>
    <div class="stacks">{list.map((stack) => <figure>
      <figcaption>{stack.whose}</figcaption>
      <pre tabIndex={0}>{stack.frames.join("\n")}</pre></figure>)}</div>
  </Card>;
}
