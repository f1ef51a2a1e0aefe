// The policy of a run, and a replay of an edited one over the run's stored
// history. A replay only reads.

import { useRef, useState } from "preact/hooks";
import { ApiError, call, get, runPath } from "./api";
import type { Backtest, BacktestFinding, Run, Side } from "./api";
import { num, plural, short, step, words } from "./format";
import { changeText, complaintsOf, offsetOf, pairFindings } from "./policy_replay";
import type { Complaint } from "./policy_replay";
import { culprit } from "./incident_table";
import { Badge, Card, Problem, Table, useLoaded } from "./ui";

// Ten thousands of rows go through the detectors twice.
const REPLAY_TIMEOUT_MS = 120_000;
const FILE = "policy";
const MAX_SHOWN = 200;

type Kind = Backtest["kinds"][number];

const sideCells = (side: Side) => <>
  <td class="number first">{short(num(side.fired))}</td>
  <td class="number">{short(num(side.acted))}{num(side.left_alone) > 0 &&
    <span class="quiet" title="the attempt had ended, and a person was left to decide"> +{short(num(side.left_alone))} left alone</span>}</td>
  <td class="number">{short(num(side.steps_lost))}</td>
</>;

const happens = (kind: Kind) => [kind.recorded, kind.before.fired, kind.after.fired].some((n) => num(n) > 0);

function Kinds({ kinds }: { kinds: Kind[] }) {
  const [showsAll, setShowsAll] = useState(false);
  const shown = kinds.filter((kind) => showsAll || happens(kind));
  const rest = kinds.filter((kind) => !happens(kind)).length;
  return <>
    {shown.length > 0 ? <KindTable kinds={shown} />
      : <p class="quiet">Nothing happened, and neither policy would have done a thing.</p>}
    {rest > 0 && <button type="button" class="plain" aria-pressed={showsAll} onClick={() => setShowsAll(!showsAll)}>
      {plural(rest, "kind")} that neither happened nor would have been found</button>}
  </>;
}

function KindTable({ kinds }: { kinds: Kind[] }) {
  const figures = ["fired", "acted", "steps lost"];
  return <div class="scroll" tabIndex={0} role="region" aria-label="Replay by kind"><table class="sides">
    <thead>
      <tr><th scope="col" rowSpan={2}>kind</th><th scope="col" rowSpan={2}>found in</th>
        {["happened", "policy in force", "edited policy"].map((side) =>
          <th scope="colgroup" colSpan={3} class="first">{side}</th>)}
        <th scope="col" rowSpan={2} class="first">answer</th><th scope="col" rowSpan={2}>change</th></tr>
      <tr>{[0, 1, 2].map(() => figures.map((name, i) =>
        <th scope="col" class={"number" + (i === 0 ? " first" : "")}>{name}</th>))}</tr>
    </thead>
    <tbody>{kinds.map((kind) => {
      const change = changeText(kind.before, kind.after);
      return <tr key={kind.kind}>
        <th scope="row">{words(kind.kind)}</th>
        <td>{kind.is_from_rows ? "rows" : "incidents"}</td>
        <td class="number first">{short(num(kind.recorded))}</td>
        <td class="number">{short(num(kind.recorded_acted))}</td>
        <td class="number">{short(num(kind.recorded_steps_lost))}</td>
        {sideCells(kind.before)}{sideCells(kind.after)}
        <td class="first">{kind.before.answer === kind.after.answer ? words(kind.after.answer)
          : <>{words(kind.before.answer)} → <b>{words(kind.after.answer)}</b></>}</td>
        <td>{change === "same" ? <span class="quiet">same</span> : <b>{change}</b>}</td>
      </tr>;
    })}</tbody>
  </table></div>;
}

const answer = (finding: BacktestFinding | null) => !finding ? <span class="quiet">not found</span>
  : finding.acts ? <Badge tone="warn">{words(finding.action)}</Badge> : words(finding.action);

function Findings({ reply }: { reply: Backtest }) {
  const [showsAll, setShowsAll] = useState(false);
  const all = pairFindings(reply.before_findings, reply.after_findings);
  const rows = showsAll ? all : all.filter(({ before, after }) =>
    before?.acts || after?.acts || before?.action !== after?.action);
  return <Card title="Findings in the rows" aside={<><span class="quiet">
      {showsAll ? "all of them" : "those that one of the policies acts on, or that they answer differently"}</span>
      {(showsAll || rows.length < all.length) && <button type="button" class="plain"
        aria-pressed={showsAll} onClick={() => setShowsAll(!showsAll)}>show all {short(all.length)}</button>}</>}>
    <Table label="Findings" rows={rows.slice(0, MAX_SHOWN)} keyOf={(p) => p.key}
      empty={all.length > 0 ? "none is acted on by either policy" : "none"} columns={[
        { name: "attempt", number: true, cell: (p) => (p.after ?? p.before)!.attempt },
        { name: "found at", number: true, cell: (p) => step(num((p.after ?? p.before)!.detected_step)) },
        { name: "what", cell: (p) => words((p.after ?? p.before)!.kind) },
        { name: "culprit", cell: (p) => culprit((p.after ?? p.before)!) },
        { name: "policy in force", cell: (p) => answer(p.before) },
        { name: "edited policy", cell: (p) => answer(p.after) },
        { name: "why", cell: (p) => (p.after ?? p.before)!.reason },
      ]} />
    {rows.length > MAX_SHOWN && <p class="quiet small">the first {MAX_SHOWN} of {short(rows.length)}</p>}
  </Card>;
}

function Result({ reply }: { reply: Backtest }) {
  const halts: [string, string][] = [["policy in force", reply.before_halt], ["edited policy", reply.after_halt]];
  return <>
    <Card title="Before and after" aside={<span class="quiet">
        {plural(num(reply.rows), "row")} of {plural(num(reply.attempts), "attempt")} replayed
        {num(reply.first_step) >= 0 && `, steps ${short(num(reply.first_step))} to ${short(num(reply.last_step))}`}</span>}>
      <Kinds kinds={reply.kinds} />
      {halts.map(([who, halt]) => halt && <p class="halt"><b>The {who} would have halted the run</b> {halt}</p>)}
    </Card>
    <Findings reply={reply} />
    {reply.notes.length > 0 && <Card title="How these figures come about">
      <ul class="evidence">{reply.notes.map((note) => <li>{note}</li>)}</ul></Card>}
  </>;
}

function Complaints({ list, go }: { list: Complaint[]; go: (c: Complaint) => void }) {
  return <div class="problem complaints" role="alert"><ul aria-label="What is wrong with the policy">
    {list.map((c) => <li>{c.line > 0 ? <><button type="button" class="plain" onClick={() => go(c)}>
      line {c.line}, column {c.column}</button> {c.text}</> : c.text}</li>)}</ul></div>;
}

function Editor({ run, toml, aside }: { run: string; toml: string; aside: string }) {
  const box = useRef<HTMLTextAreaElement>(null);
  const [text, setText] = useState(toml);
  const [from, setFrom] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [complaints, setComplaints] = useState<Complaint[]>([]);
  const [reply, setReply] = useState<Backtest | null>(null);
  const replay = async (event?: Event) => {
    event?.preventDefault();
    if (isBusy) return;
    setBusy(true);
    setComplaints([]);
    try {
      setReply(await call<Backtest>("Backtest", { run, policy_toml: text, policy_file: FILE,
        from_attempt: from || "0" }, REPLAY_TIMEOUT_MS));
    } catch (failure) {
      setReply(null);
      const { message } = failure as Error;
      setComplaints((failure as ApiError).code === "invalid_argument"
        ? complaintsOf(message, FILE) : [{ line: 0, column: 0, text: message }]);
    }
    setBusy(false);
  };
  const go = ({ line, column }: Complaint) => {
    const at = offsetOf(text, line, column);
    box.current!.focus();
    box.current!.setSelectionRange(at, at);
    // The caret's line into the middle; browsers do not scroll to it.
    const height = parseFloat(getComputedStyle(box.current!).lineHeight);
    box.current!.scrollTop = Math.max(0, height * line - box.current!.clientHeight / 2);
  };
  return <>
    <Card title="Policy" aside={<span class="quiet">{aside}{text !== toml && " · edited here"}</span>}>
      <form onSubmit={replay}>
        <p class="quiet">Edit it and replay it over this run's stored history. A replay only reads:
          neither the run nor its policy is changed. To use a policy, launch with{" "}
          <code>steadyrun run --policy FILE</code>.</p>
        {complaints.length > 0 && <Complaints list={complaints} go={go} />}
        <textarea ref={box} class="policy" aria-label="Policy, as TOML" rows={24} spellcheck={false}
          autocomplete="off" value={text} onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void replay(event); }} />
        <div class="menu">
          <label class="quiet">from attempt <input class="narrow" inputMode="numeric" pattern="[0-9]*" placeholder="first"
            value={from} onInput={(event) => setFrom(event.currentTarget.value.replace(/\D/g, ""))} /></label>
          <button type="button" disabled={text === toml} onClick={() => { setText(toml); setComplaints([]); }}>
            Back to the policy in force</button>
          <button type="submit" class="solid" disabled={isBusy} title="Ctrl+Enter">
            {isBusy ? "replaying …" : "Replay"}</button>
        </div>
      </form>
    </Card>
    <div aria-live="polite">{reply && <Result reply={reply} />}</div>
  </>;
}

export function PolicyPage({ run }: { run: Run }) {
  const name = run.spec.run;
  const { value, error } = useLoaded<{ file: string; toml: string; is_default: boolean }>(
    "policy " + name, () => get(`${runPath(name)}/policy`), { periodMs: 60_000 });
  return <>
    <Problem error={error} />
    {value && <Editor run={name} toml={value.toml} key={name}
      aside={value.is_default ? "in force: the default policy" : `in force, from ${value.file || "the launch"}`} />}
  </>;
}
