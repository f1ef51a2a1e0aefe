// The frame around the screens: header, login, keys.

import { computed, effect, signal } from "@preact/signals";
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ActionDialog, HoldButton, RunActions } from "./actions";
import { get, loadSession, login, logout, needsLogin, session } from "./api";
import type { Run } from "./api";
import { AuditPage } from "./audit_page";
import { CheckpointsPage } from "./checkpoints_page";
import { FleetPage } from "./fleet_page";
import { toneOfRun, wordOfRun } from "./fleet_order";
import { plural, short } from "./format";
import { IncidentPage } from "./incident_page";
import { link, startLive, stopLive, told } from "./live";
import { NodesPage } from "./nodes_page";
import { PolicyPage } from "./policy_page";
import { RankPage } from "./rank_page";
import { RecoveryPage } from "./recovery_page";
import { hashOf, parseRoute, rankHash, RUN_SCREENS, runOfIncident } from "./route";
import type { Route } from "./route";
import { RunPage } from "./run_page";
import { TimePage } from "./time_page";
import { Badge, Problem, useLoaded } from "./ui";

const route = signal<Route>(parseRoute(location.hash));
addEventListener("hashchange", () => { route.value = parseRoute(location.hash); scrollTo(0, 0); });
const showsHelp = signal(false);

// ---- theme ------------------------------------------------------------

type Theme = "auto" | "light" | "dark";
const stored = localStorage.getItem("steadyrun-theme");
const theme = signal<Theme>(stored === "light" || stored === "dark" ? stored : "auto");
effect(() => {
  const root = document.documentElement;
  if (theme.value === "auto") root.removeAttribute("data-theme");
  else root.setAttribute("data-theme", theme.value);
  localStorage.setItem("steadyrun-theme", theme.value);
  document.dispatchEvent(new Event("themechange"));
});
const NEXT_THEME: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };

// ---- keys ---------------------------------------------------------------

function moveRow(by: number): void {
  const rows = [...document.querySelectorAll<HTMLElement>("[data-row]")];
  if (rows.length === 0) return;
  const at = rows.indexOf(document.activeElement as HTMLElement);
  const next = at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by));
  rows[next].focus();
}

function up({ screen, id, rank, to }: Route): string {
  if (screen === "incident") return hashOf("run", runOfIncident(id));
  if (screen === "rank" && to > 0) return rankHash(id, rank);
  if (screen === "run") return to > 0 ? hashOf("run", id) : hashOf("fleet");
  return id ? hashOf("run", id) : hashOf("fleet");
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const target = event.target as HTMLElement;
  if (target.matches("input, select, textarea")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  if (event.key === "/") {
    event.preventDefault();
    if (route.value.screen !== "fleet") location.hash = hashOf("fleet");
    setTimeout(() => document.getElementById("filter")?.focus());
  } else if (event.key === "j") moveRow(1);
  else if (event.key === "k") moveRow(-1);
  else if (event.key === "?") showsHelp.value = true;
  else if (event.key === "Escape") location.hash = up(route.value);
});

function Help() {
  const keys = [["/", "filter the runs"], ["j k", "next, previous row"], ["Enter", "open the row"],
    ["Esc", "one level up"], ["?", "this list"]];
  return <dialog class="card" aria-labelledby="help-title"
      ref={(box) => { if (box && !box.open) box.showModal(); }} onClose={() => { showsHelp.value = false; }}>
    <h2 id="help-title">Keys</h2>
    <dl class="facts">{keys.map(([key, what]) => <><dt><kbd>{key}</kbd></dt><dd>{what}</dd></>)}</dl>
    <div class="menu"><button type="button" onClick={() => { showsHelp.value = false; }}>Close</button></div>
  </dialog>;
}

// ---- login --------------------------------------------------------------

function Login() {
  const [error, setError] = useState("");
  const [token, setToken] = useState("");
  const send = async (event: Event) => {
    event.preventDefault();
    try {
      await login(token.trim());
      startLive();
    } catch (failure) {
      setError((failure as Error).message);
    }
  };
  return <main><form class="card login" onSubmit={send}>
    <h2>This server asks for a token</h2>
    <label>Token <input type="password" name="token" autocomplete="off" value={token}
      onInput={(event) => setToken(event.currentTarget.value)} /></label>
    <Problem error={error} />
    <div class="menu"><button type="submit" class="solid">Log in</button></div>
  </form></main>;
}

// ---- frame --------------------------------------------------------------

function Crumbs({ run }: { run: Run | undefined }) {
  const { screen, id, rank } = route.value;
  const isIncident = screen === "incident";
  const name = isIncident ? runOfIncident(id) : id;
  return <div class="crumbs">
    <a href={hashOf("fleet")} class="brand"><img src="/icon.svg" alt="" width="20" height="20" />runs</a>
    {name && <> <span class="quiet">/</span> <a href={hashOf("run", name)} class="here">{name}</a></>}
    {isIncident && <> <span class="quiet">/</span> <span class="here">incident {id.slice(id.lastIndexOf(":") + 1)}</span></>}
    {screen === "rank" && <> <span class="quiet">/</span> <span class="here">rank {rank}</span></>}
    {run && !isIncident && <><Badge tone={toneOfRun(run)}>{wordOfRun(run)}</Badge>
      <span class="pill">{plural(run.world_size, "rank")} · {plural(run.spec.nodes, "node")}</span></>}
  </div>;
}

function Header({ run }: { run: Run | undefined }) {
  const { screen, id } = route.value;
  const words = { live: "live", connecting: "connecting", lost: "connection lost, trying again" };
  const own = run && screen !== "fleet" && screen !== "nodes" ? run : undefined;
  const links: (readonly [string, string, string])[] = own
    ? RUN_SCREENS.map(([name, label]) => [name, label, hashOf(name, own.spec.run)])
    : [["fleet", "Runs"], ["nodes", "Nodes"], ["audit", "Audit"]].map(([name, label]) => [name, label, hashOf(name)]);
  const screens = <nav aria-label="Screens">{links.map(([name, label, to]) =>
    <a href={to} aria-current={screen === name && (!own || id) ? "page" : undefined}>{label}</a>)}</nav>;
  return <header class="top">
    <div class="line">
      <Crumbs run={run} />
      {!own && screens}
      <span class="right"><Badge tone={link.value === "live" ? "good" : link.value === "lost" ? "bad" : "quiet"}>
        <span role="status">{words[link.value]}</span></Badge></span>
    </div>
    {own && <div class="line">{screens}<RunActions run={own} /></div>}
  </header>;
}

function Banner({ runs }: { runs: Run[] }) {
  const simulated = runs.filter((r) => r.spec.environment?.STEADYRUN_SIMULATED === "1");
  if (simulated.length === 0) return null;
  return <p class="banner" role="note">▲ simulated data: {simulated.length === 1
    ? `run ${simulated[0].spec.run} is` : `${short(simulated.length)} runs are`} not a real training</p>;
}

function Held({ run }: { run: Run }) {
  return <div class="banner held" role="status">
    <span>▲ {run.hold_reason || "held"} · nothing is stopped or started by itself until it is released</span>
    <HoldButton run={run} />
  </div>;
}

function Screen({ runs, run, filter, setFilter }: {
    runs: Run[]; run: Run | undefined; filter: string; setFilter: (t: string) => void }) {
  const { screen, id } = route.value;
  if (screen === "nodes") return <NodesPage />;
  if (screen === "audit") return <AuditPage run={id} />;
  if (screen === "incident") return <IncidentPage id={id} run={run} />;
  if (screen === "fleet") return <FleetPage runs={runs} filter={filter} setFilter={setFilter} />;
  if (!run) return <p class="card">No run '{id}'. <a href={hashOf("fleet")}>All runs</a></p>;
  switch (screen) {
    case "recovery": return <RecoveryPage run={run} />;
    case "checkpoints": return <CheckpointsPage run={run} />;
    case "time": return <TimePage run={run} />;
    case "policy": return <PolicyPage run={run} />;
    case "rank": return <RankPage run={run} route={route.value} key={`${id} ${route.value.rank}`} />;
    default: return <RunPage run={run} route={route.value} key={id} />;
  }
}

const overlay = computed(() => told.value);

function App() {
  const [filter, setFilter] = useState("");
  const list = useLoaded<{ runs: Run[] }>("runs", async () => {
    const read = await get<{ runs: Run[] }>("runs");
    told.value = new Map(); // Older than what was read now.
    return read;
  }, { what: ["incident", "audit"], periodMs: 5000 });
  const runs = (list.value?.runs ?? []).map((run) => ({ ...run, ...overlay.value.get(run.spec.run),
    spec: run.spec }) as Run);
  const { screen, id } = route.value;
  const name = screen === "incident" ? runOfIncident(id) : id;
  const run = runs.find((r) => r.spec.run === name);
  useEffect(() => {
    document.title = (run ? `${run.spec.run} · ${wordOfRun(run)} · ` : "") + "Steadyrun";
  }, [run?.spec.run, run && wordOfRun(run)]);
  if (needsLogin.value) return <Login />;
  const who = session.value;
  return <>
    <Header run={run} />
    <main>
      <Banner runs={name ? (run ? [run] : []) : runs} />
      {run?.is_held && <Held run={run} />}
      <Problem error={list.error && "the server does not answer: " + list.error} />
      {list.value ? <Screen runs={runs} run={run} filter={filter} setFilter={setFilter} />
        : !list.error && <p class="quiet">reading …</p>}
    </main>
    <footer class="quiet">
      <span>{who?.tokens_required ? <>{who.name || "nameless"} ({who.role}) ·{" "}
        <button type="button" class="plain" onClick={() => { void logout(); }}>log out</button></>
        : "no tokens: everybody may do everything"}</span>
      <button type="button" class="plain" onClick={() => { theme.value = NEXT_THEME[theme.value]; }}>
        theme: {theme.value}</button>
      <button type="button" class="plain" onClick={() => { showsHelp.value = true; }}>keys ( ? )</button>
      <a href="/metrics">metrics</a>
    </footer>
    <ActionDialog />
    {showsHelp.value && <Help />}
  </>;
}

effect(() => { if (needsLogin.value) stopLive(); });
loadSession().then(startLive, () => {});
render(<App />, document.getElementById("app")!);
