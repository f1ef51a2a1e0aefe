"""A training code that knows nothing of Steadyrun, for tests of its log route.

A policy over eight answers learns by REINFORCE which of them is right; all
numbers that it prints are its own. It prints them as verl, MindSpeed-RL or
TRL's trainer do, or writes them as DeepSpeed's csv_monitor does, saves its own
checkpoint and begins at it when it is there, as such codes do. Rank 0 prints;
the others work along.
"""

import argparse
import json
import math
import os
import random
import sys
import time

ANSWERS = 8
RIGHT = 3
BATCH = 64
RATE = 0.3


class Policy:
    def __init__(self):
        self.logits = [0.0] * ANSWERS
        self.step = 0

    def probabilities(self):
        top = max(self.logits)
        weights = [math.exp(logit - top) for logit in self.logits]
        total = sum(weights)
        return [weight / total for weight in weights]

    def learn(self, rate):
        """One step: the names and values a trainer would log."""
        self.step += 1
        randomness = random.Random(self.step)  # So that a restart repeats it.
        before = self.probabilities()
        answers = randomness.choices(range(ANSWERS), before, k=BATCH)
        scores = [
            float(answer == RIGHT) + 0.1 * randomness.random()
            for answer in answers
        ]
        lengths = [20 + 5 * answer for answer in answers]
        mean = sum(scores) / BATCH
        gradient = [0.0] * ANSWERS
        loss = 0.0
        for answer, score in zip(answers, scores):
            advantage = score - mean
            loss -= advantage * math.log(before[answer]) / BATCH
            for i in range(ANSWERS):
                hit = float(i == answer)
                gradient[i] += advantage * (hit - before[i]) / BATCH
        for i in range(ANSWERS):
            self.logits[i] += rate * gradient[i]
        after = self.probabilities()
        return {
            "loss": loss,
            "grad_norm": math.sqrt(sum(g * g for g in gradient)),
            "entropy": -sum(p * math.log(p) for p in before),
            "kl": sum(
                p * math.log(p / q) for p, q in zip(before, after)
            ),
            "reward": mean,
            "length": sum(lengths) / BATCH,
        }


def verl_line(step, told, seconds):
    pairs = [
        ("actor/entropy", told["entropy"]),
        ("actor/pg_loss", "np.float64(%r)" % told["loss"]),
        ("actor/ppo_kl", told["kl"]),
        ("actor/grad_norm", told["grad_norm"]),
        ("actor/lr", RATE),
        ("critic/score/mean", told["reward"]),
        ("critic/rewards/mean", told["reward"]),
        ("response_length/mean", told["length"]),
        ("timing_s/step", seconds),
    ]
    return "\x1b[36m(TaskRunner pid=%d)\x1b[0m step:%d - %s" % (
        os.getpid(), step,
        " - ".join("%s:%s" % (name, value) for name, value in pairs))


def mindspeed_line(step, steps, told, seconds):
    pairs = [
        ("actor/pg_loss", told["loss"]),
        ("actor/ppo_kl", told["kl"]),
        ("actor/entropy", told["entropy"]),
        ("grad_norm", told["grad_norm"]),
        ("grpo/score/mean", told["reward"]),
        ("response_length/mean", told["length"]),
        ("timing/all", seconds),
    ]
    return "[%s] iteration: %d / %d | %s " % (
        time.strftime("%Y-%m-%d %H:%M:%S"), step, steps,
        " | ".join("%s : %.4f" % pair for pair in pairs))


def trl_line(step, steps, told):
    return str({
        "loss": told["loss"], "grad_norm": told["grad_norm"],
        "learning_rate": RATE, "completions/mean_length": told["length"],
        "reward": told["reward"], "kl": told["kl"],
        "entropy": told["entropy"], "epoch": round(step / steps, 2),
    })


class Console:
    def __init__(self, style, steps, directory):
        self.style = style
        self.steps = steps
        self.directory = directory
        self.begun = set()

    def start(self, settings):
        print("Loading the model. Settings: {'loss': 'pg', 'rate': %r}" % RATE)
        print(settings)
        if self.style == "trl":
            sys.stderr.write(
                "Loading checkpoint shards: 100%|##########| 2/2 "
                "[00:00<00:00,  5.83it/s]\n")
            self._bar(0)

    def _csv(self, name, step, value):
        """A file a metric; the header again at each start."""
        path = os.path.join(self.directory, "Train_Samples_%s.csv" % name)
        with open(path, "a", newline="") as file:
            if name not in self.begun:
                self.begun.add(name)
                file.write("step,%s\r\n" % name)
            file.write("%d,%r\r\n" % (step, value))

    def _bar(self, step):
        sys.stderr.write("\r %3d%%|%-10s| %d/%d [00:%02d<00:30,  9.90it/s]" % (
            100 * step // self.steps, "#" * (10 * step // self.steps),
            step, self.steps, step % 60))
        sys.stderr.flush()

    def show(self, step, told, seconds):
        if self.style == "verl":
            print(verl_line(step, told, seconds))
        elif self.style == "mindspeed":
            print(mindspeed_line(step, self.steps, told, seconds),
                  file=sys.stderr)
        elif self.style == "csv":
            self._csv("train_loss", step, told["loss"])
            self._csv("reward", step, told["reward"])
        else:
            self._bar(step)
            if step % 5 == 0:
                sys.stderr.write("\r%60s\r" % "")
                print(trl_line(step, self.steps, told))
                self._bar(step)


def load(path, policy):
    try:
        with open(path) as file:
            saved = json.load(file)
    except FileNotFoundError:
        return
    policy.step = saved["step"]
    policy.logits = saved["logits"]


def save(path, policy):
    with open(path + ".new", "w") as file:
        json.dump({"step": policy.step, "logits": policy.logits}, file)
    os.replace(path + ".new", path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--style", choices=("verl", "mindspeed", "trl", "csv"))
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--step-seconds", type=float, required=True)
    parser.add_argument("--directory", required=True)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--wrong-sign-at", type=int, default=0,
                        help="from this step on it unlearns what it knows")
    arguments = parser.parse_args()
    rank = int(os.environ["RANK"])
    path = os.path.join(arguments.directory, "policy-%d.json" % rank)
    policy = Policy()
    load(path, policy)
    console = Console(arguments.style, arguments.steps, arguments.directory)
    if rank == 0:
        console.start(vars(arguments))
    while policy.step < arguments.steps:
        began = time.monotonic()
        is_wrong = 0 < arguments.wrong_sign_at <= policy.step
        told = policy.learn(-1.0 if is_wrong else arguments.rate)
        time.sleep(arguments.step_seconds)
        if rank == 0:
            console.show(policy.step, told, time.monotonic() - began)
        if policy.step % 10 == 0:
            save(path, policy)


if __name__ == "__main__":
    main()
