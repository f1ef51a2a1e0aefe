"""What the agent tells a rank: mirrors agent/recorder/environment.h."""

import os

RECORDER = "STEADYRUN_RECORDER"
RUN_ID = "STEADYRUN_RUN_ID"
ATTEMPT = "STEADYRUN_ATTEMPT"
CHECKPOINT_DIR = "STEADYRUN_CHECKPOINT_DIR"
RESUME_STEP = "STEADYRUN_RESUME_STEP"
RESUME_PATH = "STEADYRUN_RESUME_PATH"
TARGET_STEPS = "STEADYRUN_TARGET_STEPS"


def text(name):
    return os.environ.get(name, "")


def number(name, fallback):
    """A decimal of the environment; `fallback` if unset or malformed."""
    try:
        return int(os.environ[name])
    except (KeyError, ValueError):
        return fallback
