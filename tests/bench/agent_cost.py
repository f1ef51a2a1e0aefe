#!/usr/bin/env python3
"""What an agent costs its node: memory and CPU at 16 ranks, 10 steps a second.

A real server, one real agent, and 16 processes that report a step every 0.1 s
through the library and do nothing else. CPU is the agent's own time over the
measured seconds; memory is its resident set at the end.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
RANKS = 16
TICK = os.sysconf("SC_CLK_TCK")

RANK = """
import sys, time
sys.path.insert(0, %r)
import steadyrun
run = steadyrun.init()
start = time.monotonic()
for step in range(%d):
    time.sleep(max(0.0, start + 0.1 * step - time.monotonic()))
    run.step(step, loss=2.0, grad_norm=1.0, tokens=4096)
run.finish()
"""


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def cpu_seconds(pid):
    with open("/proc/%d/stat" % pid) as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory_mb(pid, field):
    with open("/proc/%d/smaps_rollup" % pid) as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
    return 0.0


def wait_for(what, is_true, seconds=30):
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise SystemExit("not within %d s: %s" % (seconds, what))
        time.sleep(0.1)


def measure(bin_dir, seconds, work_dir):
    grpc, http = free_port(), free_port()
    server = "127.0.0.1:%d" % grpc
    started = []

    def start(program, *arguments):
        log = open(os.path.join(work_dir, program + ".log"), "w")
        started.append(subprocess.Popen(
            [os.path.join(bin_dir, program), *arguments],
            stdout=log, stderr=log))
        return started[-1]

    def ask(*words):
        return subprocess.run(
            [os.path.join(bin_dir, "steadyrun"), "--server", server, *words],
            capture_output=True, text=True)

    try:
        start("steadyrun-server", "--data-dir=" + work_dir + "/server",
              "--grpc-address=" + server,
              "--http-address=127.0.0.1:%d" % http)
        agent = start("steadyrun-agent", "--node=bench", "--server=" + server,
                      "--state-dir=" + work_dir + "/agent")
        wait_for("agent connected", lambda: "connected" in ask("nodes").stdout)
        steps = int((seconds + 15) * 10)
        code = RANK % (os.path.join(ROOT, "agent", "python"), steps)
        done = ask("run", "--name", "bench", "--nodes", "1",
                   "--ranks-per-node", str(RANKS), "--checkpoint-dir",
                   work_dir + "/checkpoints", "--", sys.executable, "-c", code)
        if done.returncode:
            raise SystemExit(done.stderr)
        wait_for("running", lambda: "running" in ask("status", "bench").stdout)
        time.sleep(3)  # Past the start, into the steady state.
        before, began = cpu_seconds(agent.pid), time.monotonic()
        time.sleep(seconds)
        used = cpu_seconds(agent.pid) - before
        share = 100 * used / (time.monotonic() - began)
        print("agent, %d ranks, 10 steps/s: %.2f %% of a core, %.1f MB "
              "resident (%.1f MB of it its own)" % (
                  RANKS, share, memory_mb(agent.pid, "Rss"),
                  memory_mb(agent.pid, "Private_Dirty")
                  + memory_mb(agent.pid, "Private_Clean")))
        ask("stop", "bench", "--reason", "the measurement is over", "--wait")
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(timeout=20)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin-dir", default=os.path.join(
        ROOT, "build", "release", "bin"))
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="steadyrun-bench-") as work_dir:
        measure(options.bin_dir, options.seconds, work_dir)


if __name__ == "__main__":
    main()
