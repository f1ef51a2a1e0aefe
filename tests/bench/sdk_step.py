#!/usr/bin/env python3
"""What run.step() costs a training loop in Python, beyond the call itself,
and srun_step() in C (the whole call).

Prints one line a case: nanoseconds per call, median and 99th percentile of
batches back to back, and paced at one call each 0.5 ms as a loop would. The
cost of calling an empty method with the same arguments is taken off.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "agent", "python"))

from steadyrun import _layout as layout  # noqa: E402
from steadyrun import _recorder  # noqa: E402
from steadyrun._run import Run  # noqa: E402


def make_recorder(path):
    size = layout.STEPS_OFFSET + layout.STEP_COUNT * layout.STEP_BYTES
    with open(path, "wb") as file:
        file.write(
            layout.HEADER.pack(
                layout.MAGIC, layout.VERSION, layout.STEP_COUNT, 1, 7, 0, 0,
                1, 0, b"bench",
            )
        )
        file.truncate(size)
    return _recorder.Recorder(path)


class Empty:
    def step(self, step, loss=None, grad_norm=None, tokens=None, *,
             step_seconds=None, compute_seconds=None, learning_rate=None,
             loss_scale=None, data_seconds=None, **metrics):
        return None


def back_to_back(call, batches=200, batch=500):
    per_call = []
    step = 0
    for _ in range(batches):
        began = time.perf_counter_ns()
        for _ in range(batch):
            step += 1
            call(step)
        per_call.append((time.perf_counter_ns() - began) / batch)
    return statistics.median(per_call), sorted(per_call)[int(batches * 0.99)]


def paced(call, calls=2000, interval_ns=500_000):
    """One call an interval, the core kept busy between, as training does."""
    per_call = []
    following = time.perf_counter_ns()
    for step in range(1, calls + 1):
        while time.perf_counter_ns() < following:
            pass
        began = time.perf_counter_ns()
        call(step)
        per_call.append(time.perf_counter_ns() - began)
        following = began + interval_ns
    per_call.sort()
    return per_call[calls // 2], per_call[int(calls * 0.99)]


def measure_c(folder):
    """The C header's numbers, by a program compiled here."""
    program = os.path.join(folder, "sdk_step")
    root = os.path.abspath(os.path.join(HERE, "..", ".."))
    subprocess.run(
        ["cc", "-std=gnu11", "-O2", "-I", root, "-o", program,
         os.path.join(HERE, "sdk_step.c")],
        check=True,
    )
    path = os.path.join(folder, "recorder-c")
    make_recorder(path)
    output = subprocess.run(
        [program], check=True, capture_output=True, text=True,
        env=dict(os.environ, STEADYRUN_RECORDER=path, STEADYRUN_ATTEMPT=""),
    ).stdout
    return json.loads(output)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(make_recorder(os.path.join(folder, "recorder")))
        empty = Empty()

        def phases():
            with run.phase("forward"):
                pass

        cases = {
            "loss_norm_tokens": (
                lambda i: run.step(i, loss=2.5, grad_norm=1.5, tokens=512),
                lambda i: empty.step(i, loss=2.5, grad_norm=1.5, tokens=512),
            ),
            "with_8_metrics": (
                lambda i: run.step(
                    i, loss=2.5, grad_norm=1.5, tokens=512, a=1.0, b=2.0,
                    c=3.0, d=4.0, e=5.0, f=6.0, g=7.0, h=8.0),
                lambda i: empty.step(
                    i, loss=2.5, grad_norm=1.5, tokens=512, a=1.0, b=2.0,
                    c=3.0, d=4.0, e=5.0, f=6.0, g=7.0, h=8.0),
            ),
            "phase_in_and_out": (lambda i: phases(), lambda i: None),
        }
        results = {}
        for name, (call, base) in cases.items():
            cost, cost_99 = back_to_back(call)
            base_cost, _ = back_to_back(base)
            slow, slow_99 = paced(call)
            base_slow, _ = paced(base)
            results[name] = {
                "back_to_back_ns": round(cost - base_cost),
                "back_to_back_p99_ns": round(cost_99 - base_cost),
                "paced_ns": round(slow - base_slow),
                "paced_p99_ns": round(slow_99 - base_slow),
            }
        results["in_c"] = measure_c(folder)
        inactive = Run()
        cost, _ = back_to_back(
            lambda i: inactive.step(i, loss=2.5, grad_norm=1.5, tokens=512)
        )
        base_cost, _ = back_to_back(cases["loss_norm_tokens"][1])
        results["without_agent"] = {"back_to_back_ns": round(cost - base_cost)}
        if run.errors:
            print("errors: %d, last %s" % (run.errors, run.last_error))
            return 1
    if options.json:
        print(json.dumps(results))
    else:
        for name, numbers in results.items():
            print("sdk_step %-18s %s" % (name, "  ".join(
                "%s=%d" % item for item in numbers.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
