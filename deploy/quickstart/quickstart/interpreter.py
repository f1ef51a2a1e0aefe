"""Finds a Python that can train: the user's own torch comes first."""

import os
import shutil
import subprocess

DEBIAN_PYTHON = "/usr/bin/python3"


class NoTorch(Exception):
    """No interpreter imports torch; the message says what to do."""


def imports_torch(python):
    try:
        return (
            subprocess.run(
                [python, "-c", "import torch.distributed"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                timeout=120,
            ).returncode
            == 0
        )
    except (OSError, subprocess.SubprocessError):
        return False


def find_torch_python():
    """The first of $STEADYRUN_PYTHON, python3, /usr/bin/python3 with torch."""
    tried = []
    for name in (
        os.environ.get("STEADYRUN_PYTHON", ""), "python3", DEBIAN_PYTHON,
    ):
        path = shutil.which(name) if name else None
        if path and path not in tried:
            tried.append(path)
            if imports_torch(path):
                return path
    raise NoTorch(
        "no Python that imports torch: tried %s; install Debian's with"
        " 'apt-get install python3-torch', or name one in STEADYRUN_PYTHON"
        % ", ".join(tried)
    )
