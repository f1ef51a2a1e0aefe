#!/usr/bin/env python3
"""From a killed rank to the first new step: bare start-up, torchrun, Steadyrun.

The same training three ways on this machine:
  bare       from starting all processes to their first step, nothing else;
  torchrun   its own restart (--max-restarts) of the same job, which resumes
             from the newest checkpoint;
  Steadyrun  server, agents and their recovery.
"New" is a step beyond the last one before the kill, so the steps done again
are in it for both; the goal is bare start-up + 3 s for Steadyrun, checkpoints
being as close as --checkpoint-every says.
"""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, "..", ".."))
for folder in ("agent/python", "deploy/quickstart", "tests/e2e"):
    sys.path.insert(0, os.path.join(ROOT, folder))

from bare_training import TRAIN  # noqa: E402
from quickstart.interpreter import find_torch_python  # noqa: E402
from quickstart.ports import free_port  # noqa: E402
from scenario import MODEL, Scenario  # noqa: E402

WORLD_SIZE = 4
STEPS = 400
KILL_AT = 60
PYTHON = find_torch_python()


def arguments(directory, every):
    return [
        "--steps", str(STEPS), "--checkpoint-every", str(every),
        "--checkpoint-dir", directory, "--resume", "newest",
        "--step-seconds", "0.05", *MODEL, "--log-every", "1",
    ]


class StepLog:
    """Notes when each step's line first comes out of a process."""

    def __init__(self, stream):
        self.seen = {}  # step -> monotonic time of its first line.
        self.newest = 0
        threading.Thread(
            target=self._read, args=(stream,), daemon=True
        ).start()

    def _read(self, stream):
        for line in stream:
            found = re.search(r"step (\d+)/\d+ loss", line)
            if found:
                step = int(found.group(1))
                self.newest = max(self.newest, step)
                self.seen.setdefault(step, time.monotonic())

    def wait(self, step, seconds=120):
        deadline = time.monotonic() + seconds
        while step not in self.seen:
            if time.monotonic() > deadline:
                raise RuntimeError("no step %d after %d s" % (step, seconds))
            time.sleep(0.002)
        return self.seen[step]


def children_of(pid):
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name) as file:
                    fields = file.read().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(name))
    return found


def run_torchrun(every):
    """(seconds to the first step, seconds from the kill to a new step)"""
    folder = tempfile.mkdtemp(prefix="steadyrun-bench-")
    began = time.monotonic()
    process = subprocess.Popen(
        [PYTHON, "-m", "torch.distributed.run",
         "--nnodes", "1", "--nproc_per_node", str(WORLD_SIZE),
         "--max_restarts", "3", "--rdzv_backend", "c10d",
         "--rdzv_endpoint", "127.0.0.1:%d" % free_port(),
         # Debian's torch 1.13 fails on Python 3.11 without the next three.
         "--tee", "1", "--redirects", "2", "--log_dir", folder + "/log",
         TRAIN, *arguments(folder, every)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True,
    )
    try:
        log = StepLog(process.stdout)
        first = log.wait(1) - began
        log.wait(KILL_AT)
        ranks = children_of(process.pid)
        before = log.newest
        killed = time.monotonic()
        os.kill(ranks[1], signal.SIGKILL)
        # Steps under way when it was killed may still come out.
        return first, log.wait(before + 5) - killed
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def run_bare(every):
    folder = tempfile.mkdtemp(prefix="steadyrun-bench-")
    port = free_port()
    began = time.monotonic()
    ranks = [
        subprocess.Popen(
            [PYTHON, TRAIN, *arguments(folder, every)],
            env=dict(os.environ, RANK=str(rank), WORLD_SIZE=str(WORLD_SIZE),
                     MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for rank in range(WORLD_SIZE)
    ]
    try:
        return StepLog(ranks[0].stdout).wait(1) - began
    finally:
        for process in ranks:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def run_steadyrun(every):
    """(noticed, to the first step, to a new step) in seconds from the kill"""
    with Scenario(nodes=2, ranks_per_node=2, spares=0, steps=STEPS,
                  checkpoint_every=every) as scenario:
        scenario.launch()
        scenario.wait_step(KILL_AT)
        before = scenario.clock.step
        killed_unix = time.time()
        killed = time.monotonic()
        scenario.kill_rank(1)
        scenario.wait_for("attempt 2", lambda: (
            scenario.clock.attempt == 2 and scenario.clock.step >= 0))
        first = time.monotonic() - killed
        scenario.wait_step(before + 5)
        new = time.monotonic() - killed
        incident = scenario.wait_for(
            "the incident", lambda: scenario.report()["incidents"])[0]
        return incident["detected_unix"] - killed_unix, first, new


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--checkpoint-every", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    every = options.checkpoint_every
    rounds = range(options.rounds)
    bare = statistics.median(run_bare(every) for _ in rounds)
    _, torchrun = (
        statistics.median(values)
        for values in zip(*[run_torchrun(every) for _ in rounds])
    )
    noticed, first, new = (
        statistics.median(values)
        for values in zip(*[run_steadyrun(every) for _ in rounds])
    )
    result = {
        "bare_start_seconds": bare,
        "torchrun_new_step_seconds": torchrun,
        "steadyrun_noticed_seconds": noticed,
        "steadyrun_first_step_seconds": first,
        "steadyrun_new_step_seconds": new,
        "steadyrun_beyond_bare_seconds": new - bare,
    }
    if options.json:
        print(json.dumps(result))
    else:
        for name, seconds in result.items():
            print("recovery %-30s %6.2f s" % (name, seconds))
    return 0 if new - bare <= 3.0 else 1


if __name__ == "__main__":
    sys.exit(main())
