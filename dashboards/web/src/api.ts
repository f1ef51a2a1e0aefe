// The server's JSON, as far as the pages use it. 64-bit numbers are strings.

import { signal } from "@preact/signals";

export type Int = string | number;
export interface Spec {
  run: string; argv: string[]; environment: Record<string, string>; nodes: number;
  ranks_per_node: number; target_steps: Int; checkpoint_directory: string;
}
export interface Run {
  spec: Spec; phase: string; phase_reason: string; attempt: Int; step: Int;
  max_step: Int; loss: number | string | null; grad_norm: number | string | null;
  step_seconds: number; tokens_per_second: number; open_incidents: number;
  incidents: Int; checkpoint_step: Int; created_unix_ms: Int; ended_unix_ms: Int;
  ranks_alive: number; world_size: number; progress_age_seconds: number;
  placement: { node: string; node_rank: number; ranks: number[] }[];
  verdict: string; why: string; next: string; restarts_left: number;
  phase_since_unix_ms: Int;
  // Not told by older servers, nor by a feed that has not read the run yet.
  loss_line?: (number | string)[]; goodput?: number | null; goodput_seconds?: number;
  policy_mode?: string; is_held?: boolean; hold_reason?: string;
}
export interface Incident {
  id: string; run: string; kind: string; severity: string; attempt: Int;
  culprit: { node: string; rank: number } | null; step: Int; onset_unix_ms: Int;
  detected_unix_ms: Int; recovered_unix_ms: Int; detection_seconds: number;
  recovery_seconds: number; steps_lost: Int; remediation: string; reason: string;
  evidence: string[]; timeline: { unix_ms: Int; text: string }[]; state: string;
  signature: string;
}
export interface Story {
  incident: Incident;
  exits: { node: string; unix_ms: Int; exit: {
    rank: number; step: Int; error: string; last_log_lines: string[];
    is_secondary: boolean; exit: { code: number; signal: number } | null; }; }[];
  decisions: { unix_ms: Int; attempt: Int; action: string; reason: string }[];
  similar: Incident[];
}
export interface Checkpoint {
  attempt: Int; step: Int; state: string; reason: string; size_bytes: Int;
  saved_unix_ms: Int; save_seconds: number; shards: unknown[];
}
export interface NodeView {
  state: { node: string; address: string; version: string; spooled_reports: Int;
           runs: { run: string; floor: Int; started: Int;
                   ranks: { rank: number; life: string; step: Int; attempt: Int }[] }[] };
  status: string; heard_age_seconds: number; serving_run: string;
  quarantine_reason: string; incidents: number;
}
export interface Report {
  wall_seconds: number; productive_seconds: number; ettr: number;
  mtbf_seconds: number; mttr_seconds: number; lost_seconds: Record<string, number>;
  failures: number; attempts: number; steps_completed: number;
}
export interface Audit {
  seq: Int; unix_ms: Int; actor: string; action: string; run: string; reason: string;
  outcome: string; request_id: string; hash: string;
}
export interface Plan {
  possible: boolean; why_not: string; effect: string; steps_lost: Int;
  resume_step: Int; checkpoint_state: string; down_seconds: number;
  down_measured: number; ranks_stopped: number; destroys_work: boolean;
  seen_attempt: Int; seen_incidents: Int;
}
export interface Heatmap {
  rows: number; columns: number; cells: string; low: number; high: number;
  world_size: number; ranks_per_row: number; steps_per_column: Int;
  first_step: Int; last_step: Int; steps: Int; narrowed: string;
  slowest: { rank: number; node: string; mean_ratio: number; worst_ratio: number;
             worst_step: Int; mean_seconds: number }[];
}
export interface RankSeries { step: Int[]; attempt: Int[]; value: (number | string)[]; }
export interface Side {
  answer: string; fired: Int; acted: Int; left_alone: Int; steps_lost: Int;
}
export interface BacktestFinding {
  kind: string; detector: string; attempt: Int; onset_step: Int; detected_step: Int;
  culprit: { node: string; rank: number } | null; severity: string; action: string;
  acts: boolean; reason: string; evidence: string[];
}
export interface Backtest {
  rows: Int; attempts: Int; first_step: Int; last_step: Int; is_cut: boolean;
  kinds: { kind: string; is_from_rows: boolean; recorded: Int; recorded_acted: Int;
           recorded_steps_lost: Int; before: Side; after: Side }[];
  before_halt: string; after_halt: string;
  before_findings: BacktestFinding[]; after_findings: BacktestFinding[];
  notes: string[];
}
export interface Session { role: string; name: string; tokens_required: boolean; }

export class ApiError extends Error {
  constructor(readonly code: string, message: string, readonly status: number) {
    super(message);
  }
}

export const needsLogin = signal(false);
export const session = signal<Session | null>(null);

async function read<T>(response: Response): Promise<T> {
  if (response.ok) return response.json() as Promise<T>;
  let code = "http " + response.status;
  let message = response.statusText;
  try {
    const body = await response.json();
    code = body.code ?? code;
    message = body.message ?? message;
  } catch {
    // Not from the API; the status line must do.
  }
  if (response.status === 401) needsLogin.value = true;
  throw new ApiError(code, message, response.status);
}

// For what may be missing: `fallback` instead of NOT_FOUND.
export const orElse = <T, F>(reading: Promise<T>, fallback: F): Promise<T | F> =>
  reading.catch((error) => {
    if (error instanceof ApiError && error.code === "not_found") return fallback;
    throw error;
  });

export async function get<T>(path: string): Promise<T> {
  return read<T>(await fetch("/api/v1/" + path, { signal: AbortSignal.timeout(15000) }));
}

async function post<T>(path: string, body: unknown, timeoutMs = 20_000): Promise<T> {
  return read<T>(await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Steadyrun-Request": "1" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(timeoutMs),
  }));
}

export const call = <T>(method: string, body: unknown, timeoutMs?: number): Promise<T> =>
  post<T>("/api/steadyrun.v1.OperatorService/" + method, body, timeoutMs);

export async function loadSession(): Promise<void> {
  session.value = await get<Session>("session");
  needsLogin.value = false;
}
export async function login(token: string): Promise<void> {
  session.value = await post<Session>("/api/v1/login", { token });
  needsLogin.value = false;
}
export async function logout(): Promise<void> {
  await post("/api/v1/logout", {});
  session.value = null;
  needsLogin.value = true;
}
export const mayAct = (): boolean => session.value?.role === "operator";
export const runPath = (run: string): string => "runs/" + encodeURIComponent(run);
