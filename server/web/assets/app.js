// The status page. Reads /api/v1 every second and draws; everything that came
// from a run is put in by textContent, so no text of a run is ever markup.
"use strict";

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const PERIOD_MS = 1000;
const BUCKETS = 500;
let token = sessionStorage.getItem("steadyrun-token") || "";
let opened = "";
let beat = 0;

// ---- values -----------------------------------------------------------

// proto3 JSON writes 64-bit numbers as strings, and NaN as "NaN".
const num = (v) => (v === undefined || v === null || v === "" ? NaN : Number(v));

function short(v) {
  v = num(v);
  if (Number.isNaN(v)) return "NaN";
  if (!Number.isFinite(v)) return v > 0 ? "∞" : "−∞";
  const a = Math.abs(v);
  if (a !== 0 && (a < 0.001 || a >= 1e7)) return v.toExponential(2);
  if (a >= 1000) return Math.round(v).toLocaleString("en");
  return String(Number(v.toPrecision(4)));
}

function seconds(v) {
  v = num(v);
  if (!Number.isFinite(v)) return "–";
  if (v < 0.1) return (v * 1000).toFixed(v < 0.01 ? 1 : 0) + " ms";
  if (v < 100) return v.toFixed(v < 10 ? 2 : 1) + " s";
  if (v < 7200) return Math.floor(v / 60) + " min " + Math.round(v % 60) + " s";
  return (v / 3600).toFixed(1) + " h";
}

const bytes = (v) => {
  v = num(v);
  for (const unit of ["B", "KB", "MB", "GB", "TB"]) {
    if (v < 1000 || unit === "TB") return short(v) + " " + unit;
    v /= 1000;
  }
};
const clock = (ms) => (num(ms) > 0 ? new Date(num(ms)).toLocaleTimeString("en-GB") : "–");
const step = (v) => (num(v) < 0 ? "none" : short(v));

const TONES = {
  running: "good", completed: "good", connected: "good", recovered: "good",
  verified: "good", trusted: "good", halted: "bad", distrusted: "bad",
  lost: "bad", open: "bad", critical: "bad", stopped: "", paused: "warn",
  closed: "", written: "", complete: "",
};
const tone = (word) => (word in TONES ? TONES[word] : "warn");

// ---- elements ---------------------------------------------------------

function make(name, text, className) {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

function draw(name, attributes, className) {
  const node = document.createElementNS(SVG, name);
  for (const key of Object.keys(attributes)) node.setAttribute(key, attributes[key]);
  if (className) node.setAttribute("class", className);
  return node;
}

// Rows of cells; a cell is a text, or {text, className, node}.
function table(id, heads, rows, empty) {
  const body = [];
  if (rows.length) {
    const head = make("tr");
    heads.forEach((h) => {
      const cell = make("th", h.replace("#", ""), h.startsWith("#") ? "number" : "");
      cell.scope = "col";
      head.append(cell);
    });
    body.push(head);
  }
  for (const row of rows) {
    const line = make("tr");
    row.forEach((cell, i) => {
      const given = typeof cell === "object" ? cell : { text: cell };
      const classes = [given.className || "", heads[i].startsWith("#") ? "number" : ""];
      const td = make("td", given.text, classes.join(" ").trim());
      if (given.node) td.append(given.node);
      line.append(td);
    });
    body.push(line);
  }
  if (!rows.length) body.push(make("caption", empty, "quiet"));
  $(id).replaceChildren(...body);
}

// ---- curves -----------------------------------------------------------

// The middle 98 % of values, so that one spike does not flatten the rest.
function range(values) {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  if (!sorted.length) return [0, 1];
  const at = (q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
  let low = at(0.01), high = at(0.99);
  if (low === high) { low -= Math.abs(low) * 0.05 + 1e-9; high += Math.abs(high) * 0.05 + 1e-9; }
  const room = (high - low) * 0.06;
  return [low - room, high + room];
}

function curve(id, steps, values, lows, highs, marks, bad, [low, high]) {
  const svg = $(id);
  const parts = [];
  for (const y of [0, 80, 160, 240]) parts.push(draw("line", { x1: 0, x2: 1000, y1: y, y2: y }, "grid"));
  const first = steps[0] || 0;
  const last = Math.max(steps[steps.length - 1] || 1, first + 1);
  const x = (s) => ((s - first) / (last - first)) * 1000;
  const y = (v) => Math.max(-2, Math.min(242, 240 - ((v - low) / (high - low)) * 240));
  for (const mark of marks) {
    if (mark < first || mark > last) continue;
    parts.push(draw("line", { x1: x(mark), x2: x(mark), y1: 0, y2: 240 }, "mark"));
  }
  if (lows && highs) {
    let up = "", down = "";
    for (let i = 0; i < steps.length; i++) {
      if (!Number.isFinite(lows[i]) || !Number.isFinite(highs[i])) continue;
      const at = x(steps[i]).toFixed(1);
      up += (up ? "L" : "M") + at + " " + y(highs[i]).toFixed(1);
      down = "L" + at + " " + y(lows[i]).toFixed(1) + down;
    }
    if (up) parts.push(draw("path", { d: up + down + "Z" }, "spread"));
  }
  let path = "", pen = "M";
  for (let i = 0; i < steps.length; i++) {
    if (!Number.isFinite(values[i])) { pen = "M"; continue; }
    path += pen + x(steps[i]).toFixed(1) + " " + y(values[i]).toFixed(1);
    pen = "L";
  }
  if (path) parts.push(draw("path", { d: path }, "curve"));
  for (const s of bad) parts.push(draw("line", { x1: x(s), x2: x(s), y1: 228, y2: 240 }, "nonfinite"));
  svg.replaceChildren(...parts);
  $(id + "-axis").replaceChildren(
    make("span", steps.length ? "step " + short(first) : "no steps yet"),
    make("span", bad.length ? bad.length + " not finite" : "", "bad"),
    make("span", steps.length ? short(last) : ""));
}

function drawCurves(series, incidents) {
  const list = (name) => (series[name] || []).map(num);
  const steps = list("step");
  const loss = list("loss");
  const marks = incidents.map((i) => num(i.step)).filter((s) => s >= 0);
  const counts = list("nonfinite_steps");
  const bad = steps.filter((_, i) => counts[i] > 0);
  const losses = range(loss);
  curve("loss", steps, loss, list("loss_min"), list("loss_max"), marks, bad, losses);
  $("loss-range").textContent = steps.length ? losses.map(short).join(" to ") : "";
  // A duration is read against zero; the slowest rank's may leave the frame.
  const times = list("step_seconds");
  const slowest = list("step_seconds_max");
  const top = Math.min(range(slowest)[1], range(times)[1] * 2) * 1.1;
  curve("time", steps, times, times, slowest, marks, [], [0, top]);
  $("time-range").textContent = steps.length ? "median, and the slowest rank, up to " + seconds(top) : "";
}

// ---- parts of the page --------------------------------------------------

function drawTiles(run) {
  const target = num(run.spec.target_steps);
  const left = target > 0 && num(run.step_seconds) > 0
    ? (target - 1 - num(run.step)) * num(run.step_seconds) : NaN;
  const tiles = [
    ["Step", step(run.step), target > 0 ? "of " + short(target) : ""],
    ["Time left", run.phase === "running" && left > 0 ? seconds(left) : "–", ""],
    ["Loss", num(run.step) < 0 ? "–" : short(run.loss), ""],
    ["Gradient norm", num(run.step) < 0 ? "–" : short(run.grad_norm), ""],
    ["Step time", num(run.step_seconds) > 0 ? seconds(run.step_seconds) : "–", ""],
    ["Tokens/s", num(run.tokens_per_second) > 0 ? short(run.tokens_per_second) : "–", ""],
    ["Attempt", short(run.attempt), short(run.restarts_left) + " restarts left"],
    ["Ranks alive", short(run.ranks_alive), "of " + short(run.world_size)],
    ["Incidents", short(run.incidents), short(run.open_incidents) + " open"],
    ["Checkpoint", step(run.checkpoint_step), num(run.checkpoint_step) >= 0 ? "to resume from" : ""],
  ];
  $("tiles").replaceChildren(...tiles.map(([name, value, small]) => {
    const tile = make("dl", undefined, "tile");
    const shown = make("dd", value);
    if (small) shown.append(" ", make("small", small));
    tile.append(make("dt", name), shown);
    return tile;
  }));
  const share = (s) => (target > 0 ? Math.max(0, Math.min(1, (num(s) + 1) / target)) * 1000 : 0);
  const [done, saved] = $("track-bar").children;
  done.setAttribute("width", share(run.step));
  saved.setAttribute("x", Math.max(0, share(run.checkpoint_step) - 3));
  $("track").hidden = !(target > 0);
  $("track").setAttribute("aria-valuenow", Math.round(share(run.step) / 10));
}

function drawVerdict(run) {
  const state = run.phase === "running" && num(run.open_incidents) > 0 ? "warn" : tone(run.phase);
  $("lamp").className = "lamp " + state;
  $("verdict-text").textContent = run.verdict || run.phase;
  $("why").textContent = run.why || run.phase_reason || "";
  $("next").textContent = run.next ? "Next: " + run.next : "";
}

function drawLedger(report) {
  const lost = report.lost_seconds || {};
  const parts = [["productive", num(report.productive_seconds)]];
  for (const name of Object.keys(lost).sort((a, b) => num(lost[b]) - num(lost[a]))) {
    if (name !== "productive" && num(lost[name]) > 0) parts.push([name, num(lost[name])]);
  }
  const sum = parts.reduce((all, [, s]) => all + (s || 0), 0) || 1;
  let at = 0;
  const bars = [], key = [];
  parts.forEach(([name, s], i) => {
    const color = "c" + (i < 8 ? i : 6);
    bars.push(draw("rect", { x: (at / sum) * 1000, width: (s / sum) * 1000, height: 22 }, color));
    at += s || 0;
    const item = make("li");
    const box = draw("svg", { viewBox: "0 0 1 1" });
    box.append(draw("rect", { width: 1, height: 1 }, color));
    item.append(box, name.replace(/_/g, " ") + " " + seconds(s));
    key.push(item);
  });
  $("ledger").replaceChildren(...bars);
  $("ledger-key").replaceChildren(...key);
  $("ettr").textContent = Number.isFinite(num(report.ettr))
    ? (num(report.ettr) * 100).toFixed(1) + " % of " + seconds(report.wall_seconds) + " was productive" : "";
}

const culprit = (i) => {
  const c = i.culprit || {};
  const rank = num(c.rank) >= 0 ? "rank " + c.rank : "";
  return [c.node, rank].filter(Boolean).join(", ") || "unknown";
};

function drawIncidents(incidents) {
  table("incidents", ["Incident", "Kind", "Culprit", "#Step", "Began", "#Noticed after", "#Recovered after", "#Steps lost", "Done about it", "State", "Reason"],
    incidents.map((i) => {
      const open = make("button", i.id);
      open.type = "button";
      open.addEventListener("click", () => { opened = opened === i.id ? "" : i.id; drawIncident(incidents); });
      return [{ node: open }, i.kind.replace(/_/g, " "), culprit(i), step(i.step), clock(i.onset_unix_ms),
        seconds(i.detection_seconds), num(i.recovered_unix_ms) > 0 ? seconds(i.recovery_seconds) : "–",
        short(i.steps_lost), i.remediation.replace(/_/g, " "), { text: i.state, className: tone(i.state) }, i.reason];
    }), "none so far");
  drawIncident(incidents);
}

function drawIncident(incidents) {
  const box = $("incident");
  const one = incidents.find((i) => i.id === opened);
  box.hidden = !one;
  if (!one) return;
  const list = make("ol", undefined, "timeline");
  (one.timeline || []).forEach((entry) => list.append(make("li", clock(entry.unix_ms) + "  " + entry.text)));
  box.replaceChildren(make("h3", one.id + ": " + one.kind.replace(/_/g, " ")), make("p", one.reason), list,
    make("pre", (one.evidence || []).join("\n") || "no evidence kept"));
}

function drawNodes(nodes, name) {
  table("nodes", ["Node", "State", "Run", "#Heard", "#Ranks alive", "#Spooled", "#Incidents"],
    nodes.map((n) => {
      const ranks = (n.state.runs || []).flatMap((r) => r.ranks || []);
      const alive = ranks.filter((r) => r.life !== "RANK_LIFE_EXITED").length;
      const status = n.quarantine_reason ? n.status + ": " + n.quarantine_reason : n.status;
      return [n.state.node, { text: status, className: tone(n.status) }, n.serving_run || "spare",
        seconds(n.heard_age_seconds), short(alive), short(n.state.spooled_reports), short(n.incidents)];
    }), "no agent has connected");
}

function drawCheckpoints(checkpoints) {
  table("checkpoints", ["#Step", "State", "#Attempt", "#Size", "#Took", "Saved", "Reason"],
    checkpoints.slice().sort((a, b) => num(b.step) - num(a.step) || num(b.attempt) - num(a.attempt)).slice(0, 50)
      .map((c) => [step(c.step), { text: c.state, className: tone(c.state) }, short(c.attempt),
        bytes(c.size_bytes), seconds(c.save_seconds), clock(c.saved_unix_ms), c.reason]), "none yet");
}

function drawRuns(runs, current) {
  $("runs").replaceChildren(...runs.slice(0, 30).map((run) => {
    const link = make("a");
    link.href = "#" + encodeURIComponent(run.spec.run);
    if (run.spec.run === current) link.setAttribute("aria-current", "page");
    link.append(make("span", undefined, "dot " + (num(run.open_incidents) > 0 ? "bad" : tone(run.phase))),
      run.spec.run + " · " + run.phase);
    return link;
  }));
}

// ---- reading ------------------------------------------------------------

async function get(path) {
  const headers = token ? { Authorization: "Bearer " + token } : {};
  const reply = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(8000) });
  if (reply.status === 401 || reply.status === 403) {
    const failure = new Error((await reply.json()).message);
    failure.needsToken = true;
    throw failure;
  }
  if (!reply.ok) throw new Error(path + ": HTTP " + reply.status);
  return reply.json();
}

async function refresh() {
  const [info, list] = await Promise.all([get("/version"), get("/api/v1/runs")]);
  $("login").hidden = true;
  const trouble = info.storage_ok ? "" : "storage: " + info.storage_error;
  $("server").textContent = trouble || info.agents_connected + " agents connected";
  $("server").className = trouble ? "bad" : "quiet";
  $("version").textContent = "steadyrun " + info.version + ", server epoch " + info.server_epoch;
  const runs = list.runs || [];
  const wanted = decodeURIComponent(location.hash.slice(1));
  const run = runs.find((r) => r.spec.run === wanted) || runs[0];
  $("page").hidden = !run;
  $("empty").hidden = Boolean(run);
  drawRuns(runs, run ? run.spec.run : "");
  if (!run) return;
  document.title = run.spec.run + " · " + run.phase + " · Steadyrun";
  drawVerdict(run);
  drawTiles(run);
  const base = "/api/v1/runs/" + encodeURIComponent(run.spec.run);
  const [incidents, nodes, checkpoints, series] = await Promise.all([
    get(base + "/incidents?limit=100"), get("/api/v1/nodes"), get(base + "/checkpoints"),
    get(base + "/steps?buckets=" + BUCKETS)]);
  drawIncidents(incidents.incidents || []);
  drawNodes(nodes.nodes || [], run.spec.run);
  drawCheckpoints(checkpoints.checkpoints || []);
  drawCurves(series, incidents.incidents || []);
  if (beat % 3 === 0) drawLedger(await get(base + "/report"));
}

async function loop() {
  try {
    if (!document.hidden) { await refresh(); beat += 1; }
  } catch (error) {
    $("server").textContent = error.needsToken ? error.message : "server not reachable: " + error.message;
    $("server").className = "bad";
    if (error.needsToken) $("login").hidden = false;
  }
  setTimeout(loop, PERIOD_MS);
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  sessionStorage.setItem("steadyrun-token", token);
});
window.addEventListener("hashchange", () => { opened = ""; beat = 0; });
loop();
