#!/usr/bin/env python3
"""What Steadyrun costs a real training step: an A/B run in one process.

The quickstart's GPT trains on one rank; steps alternate at random between a
run that writes a flight recorder and one without an agent, so both see the
same machine, model and caches. Printed: the median step, the difference of
the two medians with its 95 % interval (bootstrap), and the same cost summed
from the library's own calls, which is free of the noise of the steps. Then the
one look a second of the thread that tells where the training stands still: at
training that advances, and at training that does not.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
for folder in ("agent/python", "deploy/quickstart", "tests/bench"):
    sys.path.insert(0, os.path.join(ROOT, folder))


def measure(steps):
    import train_gpt
    import torch

    from sdk_step import make_recorder
    from steadyrun._run import Run

    torch.set_num_threads(1)
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    with tempfile.TemporaryDirectory() as folder:
        train_gpt.dist.init_process_group(
            "gloo", rank=0, world_size=1,
            init_method="file://" + os.path.join(folder, "rendezvous"),
        )
        trainer = train_gpt.Trainer(train_gpt.parse_options([]), 0, 1)
        runs = (Run(), Run(make_recorder(os.path.join(folder, "recorder"))))
        runs[1]._watch()
        seconds = ([], [])
        chance = random.Random(1)
        for step in range(1, steps + 1):
            which = chance.randrange(2)
            train_gpt.run = runs[which]
            began = time.perf_counter_ns()
            loss, norm, compute = trainer.train_one_step(step)
            train_gpt.run.step(
                step, loss=loss, grad_norm=norm, tokens=128,
                compute_seconds=compute, learning_rate=0.001,
            )
            seconds[which].append((time.perf_counter_ns() - began) * 1e-9)
        calls = own_cost(runs[1])
        looks = [look_cost(runs[1], seconds) for seconds in (0, 10**6)]
    warm = steps // 20
    without, with_it = (values[warm:] for values in seconds)
    return summarize(without, with_it, calls, looks)


def own_cost(run, rounds=3000):
    """Seconds of all calls that one training step makes."""
    best = []
    for step in range(rounds):
        began = time.perf_counter_ns()
        for name in ("data", "forward", "backward", "optimizer"):
            with run.phase(name):
                pass
        run.step(step + 10**6, loss=1.0, grad_norm=1.0, tokens=128,
                 compute_seconds=0.01, learning_rate=0.001)
        best.append((time.perf_counter_ns() - began) * 1e-9)
    return statistics.median(best)


def look_cost(run, seconds_later, rounds=3000):
    """Seconds of one look of the thread."""
    costs = []
    for _ in range(rounds):
        now = time.monotonic_ns() + seconds_later * 10**9
        began = time.perf_counter_ns()
        run._watcher.look(now)
        costs.append((time.perf_counter_ns() - began) * 1e-9)
    return statistics.median(costs)


def summarize(without, with_it, calls, looks):
    base = statistics.median(without)
    chance = random.Random(2)
    differences = sorted(
        statistics.median(chance.choices(with_it, k=len(with_it)))
        - statistics.median(chance.choices(without, k=len(without)))
        for _ in range(400)
    )
    return {
        "steps": len(without) + len(with_it),
        "step_ms": base * 1e3,
        "difference_percent": 100 * (statistics.median(with_it) - base) / base,
        "interval_percent": [
            100 * differences[10] / base, 100 * differences[389] / base,
        ],
        "own_calls_us": calls * 1e6,
        "own_calls_percent": 100 * calls / base,
        "look_us": looks[0] * 1e6,
        "look_at_standstill_us": looks[1] * 1e6,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        import torch  # noqa: F401
    except ImportError:
        from quickstart.interpreter import find_torch_python

        return subprocess.run([find_torch_python(), *sys.argv]).returncode
    result = measure(options.steps)
    if options.json:
        print(json.dumps(result))
        return 0
    print("sdk_overhead step %.2f ms over %d steps" % (
        result["step_ms"], result["steps"]))
    print("sdk_overhead A/B difference %+.3f %% (95 %%: %+.3f to %+.3f)" % (
        result["difference_percent"], *result["interval_percent"]))
    print("sdk_overhead own calls %.1f us a step = %.4f %%" % (
        result["own_calls_us"], result["own_calls_percent"]))
    print("sdk_overhead one look a second: %.1f us; at a standstill %.0f us" % (
        result["look_us"], result["look_at_standstill_us"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
