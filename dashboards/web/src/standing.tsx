// Who arrived and who did not, when a run stood still.

import type { Incident } from "./api";
import { isMissing, stateWord } from "./evidence";
import type { Stand } from "./evidence";
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
