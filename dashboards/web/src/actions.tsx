// Orders. A dialog shows what the order would do, as the server computes it,
// asks for a reason, and for the run's name where work is destroyed. What it
// reports is the server's answer, not that something was sent.

import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, call, mayAct, session } from "./api";
import type { Plan, Run } from "./api";
import { isEnded } from "./fleet_order";
import { num, plural, seconds, short } from "./format";

type Name = "checkpoint" | "pause" | "resume" | "restart" | "rollback" | "stop" | "quarantine" |
  "release" | "hold" | "unhold" | "mute" | "unmute";
interface Order { action: Name; run?: string; node?: string; step?: number; }

const LABELS: Record<Name, string> = {
  checkpoint: "Checkpoint now", pause: "Pause…", resume: "Resume…", restart: "Restart…",
  rollback: "Roll back…", stop: "Stop…", quarantine: "Quarantine…", release: "Release…",
  hold: "Hold…", unhold: "Release hold…", mute: "Mute…", unmute: "Unmute…",
};
const MUTES: [string, number][] = [["15 minutes", 900], ["1 hour", 3600], ["4 hours", 14_400],
  ["12 hours", 43_200], ["1 day", 86_400], ["3 days", 259_200], ["1 week", 604_800]];
const ordered = signal<Order | null>(null);

export function ActionButton({ action, run, node, step, label }: Order & { label?: string }) {
  if (!mayAct()) return null;
  const isHarsh = action === "restart" || action === "stop" || action === "rollback";
  return <button type="button" class={isHarsh ? "harsh" : ""}
    aria-label={`${(label ?? LABELS[action]).replace("…", "")}${node ? " " + node : ""}${
      step !== undefined ? ` to step ${step}` : ""}`}
    onClick={() => { ordered.value = { action, run, node, step }; }}>{label ?? LABELS[action]}</button>;
}

export function HoldButton({ run }: { run: Run }) {
  return <ActionButton action={run.is_held ? "unhold" : "hold"} run={run.spec.run} />;
}

// Both, as a run's view does not tell whether it is muted.
export function MuteButtons({ run }: { run: Run }) {
  return <><ActionButton action="mute" run={run.spec.run} />
    <ActionButton action="unmute" run={run.spec.run} /></>;
}

// Closed by Escape, and when the focus goes elsewhere.
function More({ children }: { children: ComponentChildren }) {
  const box = useRef<HTMLDetailsElement>(null);
  const close = () => { box.current!.open = false; };
  return <details class="more" ref={box}
      onClick={(event) => { if ((event.target as Element).closest("button")) close(); }}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || !box.current!.open) return;
        event.stopPropagation();
        close();
        box.current!.querySelector("summary")!.focus();
      }}
      onFocusOut={(event) => {
        if (!box.current!.contains(event.relatedTarget as Node | null)) close();
      }}>
    <summary>More</summary><div>{children}</div></details>;
}

export function RunActions({ run }: { run: Run }) {
  const name = run.spec.run;
  if (!mayAct() || isEnded(run)) return null;
  const isStopped = run.phase === "paused" || run.phase === "halted";
  return <div class="actions" role="group" aria-label={"Actions on " + name}>
    {run.phase === "running" && <ActionButton action="checkpoint" run={name} />}
    {isStopped && <ActionButton action="resume" run={name} />}
    <HoldButton run={run} />
    <ActionButton action="restart" run={name} />
    <ActionButton action="stop" run={name} />
    <More>{!isStopped && <ActionButton action="pause" run={name} />}<MuteButtons run={run} /></More>
  </div>;
}

const requestOf = (order: Order, muteSeconds: number) => ({
  run: order.run ?? "", node: order.node ?? "", step: String(order.step ?? 0),
  action: "ACTION_" + order.action.toUpperCase(),
  ...(order.action === "mute" && { mute_seconds: String(muteSeconds) }),
});

// Sixteen random bytes; crypto.randomUUID is missing over plain HTTP.
const newRequestId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");

function PlanText({ plan }: { plan: Plan }) {
  if (!plan.possible) return <p class="problem" role="alert"><i aria-hidden="true">■</i> Not possible now: {plan.why_not}</p>;
  const resume = num(plan.resume_step);
  const concernsRun = num(plan.seen_attempt) > 0;
  return <>
    <p>{plan.effect}</p>
    {concernsRun && <dl class="facts">
      <dt>steps made again</dt><dd>{short(num(plan.steps_lost))}</dd>
      <dt>checkpoint</dt><dd>{resume < 0 ? "none: from the beginning"
        : `step ${short(resume)}${plan.checkpoint_state ? ", " + plan.checkpoint_state : ""}`}</dd>
      <dt>ranks stopped</dt><dd>{short(plan.ranks_stopped)}</dd>
      {plan.down_measured > 0 && <><dt>expected down time</dt><dd>{seconds(plan.down_seconds)}, median of{" "}
        {plural(plan.down_measured, "measured recovery", "measured recoveries")}</dd></>}
      {plan.down_measured === 0 && ["restart", "rollback"].some((w) => plan.effect.includes(w) ||
        plan.effect.startsWith("Stops")) && <><dt>expected down time</dt><dd>not measured yet</dd></>}
    </dl>}
  </>;
}

function Dialog({ order }: { order: Order }) {
  const box = useRef<HTMLDialogElement>(null);
  const [plan, setPlan] = useState<Plan | null>(null);
  const [error, setError] = useState("");
  const [result, setResult] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [reason, setReason] = useState("");
  const [typed, setTyped] = useState("");
  // One for this dialog: sent twice, it is carried out once.
  const requestId = useRef(newRequestId());
  const [muteSeconds, setMuteSeconds] = useState(3600);
  const close = () => { ordered.value = null; };
  const look = () => {
    setError("");
    call<Plan>("PlanAction", requestOf(order, muteSeconds)).then(setPlan, (e: Error) => setError(e.message));
  };
  useEffect(() => {
    box.current!.showModal();
    look();
  }, []);
  const name = order.run ?? order.node ?? "";
  const isReady = plan?.possible && reason.trim() !== "" && (!plan.destroys_work || typed === name);
  const send = async (event: Event) => {
    event.preventDefault();
    if (!isReady || isBusy) return;
    setBusy(true);
    setError("");
    try {
      const reply = await call<{ message: string; duplicate: boolean }>("Act", {
        ...requestOf(order, muteSeconds), request_id: requestId.current, reason: reason.trim(),
        actor: session.value?.name || "dashboard",
        seen_attempt: plan!.seen_attempt, seen_incidents: plan!.seen_incidents });
      setResult(reply.message || "done");
    } catch (failure) {
      setError((failure as Error).message);
      // Refused for good: a second try is a new order, decided anew.
      if (failure instanceof ApiError && failure.code === "failed_precondition") {
        requestId.current = newRequestId();
        setPlan(null);
        call<Plan>("PlanAction", requestOf(order, muteSeconds)).then(setPlan, () => {});
      }
    }
    setBusy(false);
  };
  return <dialog ref={box} class="card" onClose={close} aria-labelledby="dialog-title">
    <form onSubmit={send}>
      <h2 id="dialog-title">{LABELS[order.action].replace("…", "")} {name}
        {order.step !== undefined && ` to step ${short(order.step)}`}</h2>
      {plan ? <PlanText plan={plan} /> : !error && <p class="quiet">computing the effect …</p>}
      {error && <p class="problem" role="alert"><i aria-hidden="true">■</i> {error}</p>}
      {result ? <p class="done" role="status"><i aria-hidden="true">✓</i> {result}</p> : <>
        {order.action === "mute" && <label>For
          <select name="duration" value={muteSeconds}
            onChange={(event) => setMuteSeconds(Number(event.currentTarget.value))}>
            {MUTES.map(([text, length]) => <option value={length}>{text}</option>)}</select></label>}
        <label>Reason, for the audit
          <input name="reason" maxLength={400} value={reason} autocomplete="off"
            onInput={(event) => setReason(event.currentTarget.value)} /></label>
        {plan?.destroys_work && <label>Type <b>{name}</b> to confirm
          <input name="typed" value={typed} autocomplete="off" spellcheck={false}
            onInput={(event) => setTyped(event.currentTarget.value)} /></label>}</>}
      <div class="menu">
        <button type="button" onClick={close}>{result ? "Close" : "Cancel"}</button>
        {!result && <button type="submit" class={plan?.destroys_work ? "harsh solid" : "solid"}
          disabled={!isReady || isBusy}>{isBusy ? "waiting for the server …" : order.action === "unhold" ? "release hold" : order.action}</button>}
      </div>
    </form>
  </dialog>;
}

export function ActionDialog() {
  const order = ordered.value;
  return order && <Dialog order={order} key={JSON.stringify(order)} />;
}
