"""What the agent tells a rank: mirrors agent/recorder/environment.h."""

import os

RECORDER = "STEADYRUN_RECORDER"
RUN_ID = "STEADYRUN_RUN_ID"
ATTEMPT = "STEADYRUN_ATTEMPT"
CHECKPOINT_DIR = "STEADYRUN_CHECKPOINT_DIR"
RESUME_STEP = "STEADYRUN_RESUME_STEP"
RESUME_PATH = "STEADYRUN_RESUME_PATH"
TARGET_STEPS = "STEADYRUN_TARGET_STEPS"
SKIP = "STEADYRUN_SKIP"
LEARNING_RATE_FACTOR = "STEADYRUN_LEARNING_RATE_FACTOR"
STANDSTILL = "STEADYRUN_STANDSTILL"


def text(name):
    return os.environ.get(name, "")


def number(name, fallback):
    """A decimal of the environment; `fallback` if unset or malformed."""
    try:
        return int(os.environ[name])
    except (KeyError, ValueError):
        return fallback


def factor(name):
    """A positive decimal fraction; 1 if unset or malformed."""
    try:
        value = float(os.environ[name])
    except (KeyError, ValueError):
        return 1.0
    return value if 0 < value < float("inf") else 1.0


def ranges(name):
    """"3-5,9-9" as ((3, 5), (9, 9)); what is malformed is left out."""
    found = []
    for part in os.environ.get(name, "").split(","):
        try:
            first, last = map(int, part.split("-"))
        except ValueError:
            continue
        if first <= last:
            found.append((first, last))
    return tuple(sorted(found))
