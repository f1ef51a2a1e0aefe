"""Runs train_gpt.py without Steadyrun, as torchrun would."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.abspath(
    os.path.join(os.path.dirname(__file__), "..", "..")
)
sys.path.insert(0, os.path.join(ROOT, "deploy", "quickstart"))

from quickstart.interpreter import find_torch_python  # noqa: E402
from quickstart.ports import free_port  # noqa: E402

TRAIN = os.path.join(ROOT, "deploy", "quickstart", "train_gpt.py")


class BareTraining:
    """One launch of all ranks. Use as a context: leaves nothing behind."""

    def __init__(self, world_size, arguments, environment=None):
        self.log = tempfile.TemporaryFile("w+")
        port = free_port()
        python = find_torch_python()
        self.processes = []
        for rank in range(world_size):
            settings = dict(
                os.environ, RANK=str(rank), WORLD_SIZE=str(world_size),
                LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1",
                MASTER_PORT=str(port), **(environment or {}),
            )
            self.processes.append(
                subprocess.Popen(
                    [python, TRAIN, *map(str, arguments)], env=settings,
                    stdout=self.log, stderr=subprocess.STDOUT,
                )
            )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.log.close()

    def wait(self, timeout=240):
        """Exit codes of all ranks, once all are gone."""
        deadline = time.monotonic() + timeout
        return [
            process.wait(max(0.1, deadline - time.monotonic()))
            for process in self.processes
        ]

    def kill(self, rank):
        self.processes[rank].send_signal(signal.SIGKILL)

    def output(self):
        self.log.seek(0)
        return self.log.read()

    def sha256(self):
        found = re.search(r"parameters sha256 ([0-9a-f]{64})", self.output())
        return found and found.group(1)
