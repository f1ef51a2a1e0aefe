"""A rank without a model: makes steps, saves every 50 of them."""

import os
import sys
import time

sys.path.insert(0, sys.argv[1])

import steadyrun  # noqa: E402


def save(run, step):
    with run.phase("checkpoint"):
        path = os.path.join(run.checkpoint_dir, "step-%d" % step)
        os.makedirs(run.checkpoint_dir, exist_ok=True)
        with open(path + ".partial", "w") as file:
            file.write("step %d\n" % step)
            os.fsync(file.fileno())
        os.replace(path + ".partial", path)
        run.checkpoint_saved(step, path)


def main():
    run = steadyrun.init()
    step = run.resume.step if run.resume else 0
    while True:
        step += 1
        time.sleep(0.02)
        action = run.step(
            step, loss=1.0 / step, grad_norm=1.0, tokens=128
        )
        if step % 50 == 0 or (action and action.save):
            save(run, step)
        if action and action.stop:
            return


main()
