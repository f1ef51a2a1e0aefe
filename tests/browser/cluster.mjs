// Starts a real steadyrun-server and a cluster_feed on free ports, and ends
// them again, by their process ids.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const bin = process.env.STEADYRUN_BIN ?? new URL("../../build/release/bin", import.meta.url).pathname;

// Calls `look` until it gives something true; the time is a bound, no wait.
export async function until(what, look, seconds = 40) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    let last;
    try {
      const found = await look();
      if (found) return found;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what} ${last ?? ""}`);
    await new Promise((done) => setTimeout(done, 40));
  }
}

export class Server {
  constructor(options = {}) {
    this.dir = mkdtempSync(join(tmpdir(), "steadyrun-browser-"));
    this.options = options;
    this.http = "127.0.0.1:0";
    this.grpc = "127.0.0.1:0";
  }
  async start() {
    const args = ["--grpc-address", this.grpc, "--http-address", this.http, "--data-dir", this.dir];
    if (this.options.tokens) {
      writeFileSync(join(this.dir, "tokens"), this.options.tokens);
      args.push("--tokens", join(this.dir, "tokens"));
    }
    this.process = spawn(join(bin, "steadyrun-server"), args, { stdio: ["ignore", "pipe", "pipe"] });
    this.log = "";
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream.on("data", (text) => { this.log = (this.log + text).slice(-200_000); });
    }
    this.ended = new Promise((done) => this.process.on("exit", done));
    const found = await until("the server serves", () =>
      /serving grpc=(\S+) http=(\S+)/.exec(this.log) ??
      (this.process.exitCode !== null && Promise.reject(new Error(this.log))));
    [, this.grpc, this.http] = found;
    this.url = "http://" + this.http;
    return this;
  }
  async get(path) {
    const headers = this.options.token ? { Authorization: "Bearer " + this.options.token } : {};
    const reply = await fetch(this.url + "/api/v1/" + path, { headers });
    if (!reply.ok) throw new Error(`${path}: ${reply.status} ${await reply.text()}`);
    return reply.json();
  }
  async stop(signal = "SIGTERM") {
    this.process?.kill(signal);
    await this.ended;
  }
  async end() {
    await this.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export class Feed {
  constructor(server, { run = "gpt-70b", nodes = 8, ranks = 8, spares = 1, fast = 0, token = "" } = {}) {
    this.run = run;
    const args = [server.grpc, run, nodes, ranks, spares, fast, token].map(String);
    this.process = spawn(join(bin, "cluster_feed"), args, { stdio: ["pipe", "pipe", "inherit"] });
    this.ended = new Promise((done) => this.process.on("exit", done));
    this.launched = new Promise((done) => this.process.stdout.once("data", done));
  }
  order(line) {
    this.process.stdin.write(line + "\n");
  }
  async end() {
    this.order("end");
    this.process.stdin.end();
    await this.ended;
  }
}
