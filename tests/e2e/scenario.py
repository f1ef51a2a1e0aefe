"""A whole Steadyrun on this machine with a real training, for one test.

The parts are those of the quickstart: the same server, agents, proxies and
injector. Everything a scenario starts is gone when its context ends.
"""

import os
import pathlib
import shutil
import signal
import sys
import tempfile
import threading
import time

from bare_training import ROOT

sys.path.insert(0, os.path.join(ROOT, "agent", "python"))

from quickstart import fault_script, reference  # noqa: E402
from quickstart.cluster import Cluster  # noqa: E402
from quickstart.injector import Injector  # noqa: E402
from quickstart.interpreter import find_torch_python  # noqa: E402
from quickstart.service_client import ServiceClient  # noqa: E402
from quickstart.step_clock import StepClock  # noqa: E402

BIN = os.environ.get(
    "STEADYRUN_BIN", os.path.join(ROOT, "build", "release", "bin")
)
RUN = "e2e"
ENDED = ("completed", "stopped", "halted")
# Small, so that a test takes seconds; slowed down, so that there is time to
# break things; sleeping costs no core.
MODEL = ["--width", "32", "--heads", "2", "--layers", "1", "--batch", "2",
         "--context", "16", "--eval-every", "0", "--log-every", "20"]
PYTHON = find_torch_python()


class Timeout(AssertionError):
    """Something did not happen in time; the message holds the picture."""


class ExclusionWatch:
    """Looks for two attempts that run at the same time, the whole while.

    Counted are ranks that can make steps: a stopped one (a frozen node) is
    passed over, as the fence does; what it may do when it wakes up is killed
    by its agent before the agent does anything else, and it can neither join
    nor overwrite meanwhile.
    """

    def __init__(self, table):
        self.table = table
        self.overlaps = []
        self.forgiven_nodes = set()  # Frozen or cut off on purpose.
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self):
        self._thread.start()

    def stop(self):
        self._is_stopped.set()
        self._thread.join()

    def _watch(self):
        while not self._is_stopped.wait(0.03):
            attempts = {}
            for process in self.table.scan():
                if process.is_rank and not self._is_forgiven(process):
                    attempts.setdefault(process.attempt, []).append(process)
            if len(attempts) > 1:
                self.overlaps.append({
                    attempt: sorted(process.rank for process in ranks)
                    for attempt, ranks in attempts.items()
                })

    def _is_forgiven(self, process):
        return process.node in self.forgiven_nodes


class Scenario:
    def __init__(self, faults="", nodes=2, ranks_per_node=1, spares=1,
                 steps=100, checkpoint_every=20, step_seconds=0.05,
                 training=(), policy="", server_environment=None, seed=1):
        self.work_dir = tempfile.mkdtemp(prefix="steadyrun-e2e-")
        self.faults = fault_script.parse(faults)
        self.nodes = nodes
        self.ranks_per_node = ranks_per_node
        self.world_size = nodes * ranks_per_node
        self.steps = steps
        self.policy = policy
        # What decides the parameters, and what only takes time.
        self.decisive = [
            "--steps", str(steps), "--seed", str(seed), *MODEL,
            "--checkpoint-every", str(checkpoint_every),
        ]
        self.timing = ["--step-seconds", str(step_seconds), *training]
        self.checkpoints = os.path.join(self.work_dir, "checkpoints")
        self.fault_files = os.path.join(self.work_dir, "faults")
        self.lines = []
        small_disk = any(fault.kind == "fill_disk" for fault in self.faults)
        self.cluster = Cluster(
            BIN, self.work_dir, nodes + spares, small_disk,
            port_base=_some_port(), server_environment=server_environment,
        )
        self.client = ServiceClient(
            self.cluster.program("steadyrun"), self.cluster.grpc_port,
            self.cluster.http_port,
        )
        self.clock = StepClock(self.cluster.table, RUN)
        self.injector = Injector(
            self.faults, self.cluster, self.clock, RUN, self.world_size,
            {"checkpoints": self.checkpoints, "faults": self.fault_files},
            self._say, seed,
        )
        self.watch = ExclusionWatch(self.cluster.table)
        self.watch.forgiven_nodes = {
            "node-%s" % fault.node
            for fault in self.faults
            if fault.kind == "pause_node"
        }
        self.expected_agents = nodes + spares
        # A failpoint is a SIGKILL of the server by itself.
        self.expected_ends = {"server": [-9]} if server_environment else {}
        self._began = time.monotonic()

    def __enter__(self):
        self.cluster.__enter__()
        self.clock.start()
        self.watch.start()
        return self

    def __exit__(self, kind, error, trace):
        self.clock.stop()
        self.injector.join()
        self.watch.stop()
        self.cluster.close()
        if kind is None:
            shutil.rmtree(self.work_dir, ignore_errors=True)
        else:
            sys.stderr.write("\nfiles of the failed scenario: %s\n%s\n" % (
                self.work_dir, "\n".join(self.lines)))

    def _say(self, text):
        self.lines.append(
            "[%6.2f] %s" % (time.monotonic() - self._began, text)
        )

    # --- Steps of a test.

    def launch(self):
        self.cluster.wait_ready(
            lambda: self.client.nodes_connected() >= self.expected_agents
        )
        self.injector.arm()
        words = [
            "run", "--name", RUN, "--nodes", str(self.nodes),
            "--ranks-per-node", str(self.ranks_per_node),
            "--steps", str(self.steps), "--checkpoint-dir", self.checkpoints,
            "--env", "STEADYRUN_QUICKSTART_FAULTS=" + self.fault_files,
        ]
        if self.policy:
            path = os.path.join(self.work_dir, "policy.toml")
            with open(path, "w") as file:
                file.write(self.policy)
            words += ["--policy", path]
        words += ["--", PYTHON, reference.TRAIN, *self.decisive, *self.timing]
        done = self.client.command(*words)
        if done.returncode:
            raise AssertionError(done.stderr or done.stdout)
        self._say("launched")
        self.injector.start()

    def wait_for(self, what, is_true, seconds=90):
        """Tends the services until is_true() gives something; gives that."""
        deadline = time.monotonic() + seconds
        while True:
            found = is_true()
            if found:
                return found
            if time.monotonic() > deadline:
                raise Timeout("not after %d s: %s\n%s" % (
                    seconds, what, self.picture()))
            for service in self.cluster.tend():
                self._say("%s is started again" % service.name)
            time.sleep(0.03)

    def view(self):
        return self.client.run_view(RUN) or {}

    def phase(self):
        return self.view().get("phase", "")

    def wait_phase(self, *phases, seconds=90):
        return self.wait_for(
            "phase %s" % " or ".join(phases),
            lambda: (lambda phase: phase if phase in phases else "")(
                self.phase()),
            seconds,
        )

    def wait_step(self, step, seconds=90):
        self.wait_for(
            "step %d" % step, lambda: self.clock.step >= step, seconds
        )

    def run(self, seconds=180):
        """Launches and waits for the end; the report."""
        self.launch()
        self.wait_phase(*ENDED, seconds=seconds)
        return self.report()

    def report(self):
        return self.wait_for(
            "a report", lambda: self.client.query("report", RUN), 30
        )

    def own_ends(self):
        """Exit codes of programs that ended without being told to."""
        return {
            service.name: service.own_ends
            for service in (
                self.cluster.server, *self.cluster.agents.values()
            )
            if service.own_ends
        }

    def stored_steps(self):
        """Steps the service has in its database, once each."""
        series = self.client.get("api/v1/runs/%s/steps?buckets=1000" % RUN)
        return [int(step) for step in series["step"]]

    def act(self, *words):
        """An operator's command, with a reason; CompletedProcess."""
        return self.client.command(*words, "--reason", "e2e test")

    def ranks(self):
        return self.cluster.table.ranks()

    def reference(self):
        """Hash of the same training, unbroken, without Steadyrun."""
        return reference.reference_sha256(
            PYTHON, self.decisive, self.world_size
        )[0]

    def fault_paths(self):
        """Files of faults that the training code has yet to do."""
        return [
            path for path in pathlib.Path(self.fault_files).iterdir()
            if path.suffix != ".done"
        ]

    def kill_rank(self, rank):
        process = self.wait_for("rank %d" % rank,
                                lambda: self.ranks().get(rank))
        process.send(signal.SIGKILL)
        return process

    def picture(self):
        """All that helps to see why a test failed."""
        parts = list(self.lines)
        parts.append("step clock: attempt %d step %d" % (
            self.clock.attempt, self.clock.step))
        for words in (("status", RUN), ("incidents", RUN), ("nodes",),
                      ("checkpoints", RUN)):
            try:
                done = self.client.command(*words, timeout=5)
                parts.append("$ steadyrun %s\n%s%s" % (
                    " ".join(words), done.stdout, done.stderr))
            except Exception as error:
                parts.append("$ steadyrun %s: %r" % (" ".join(words), error))
        parts.append("server log:\n" + self.cluster.server.last_log())
        for name, agent in self.cluster.agents.items():
            parts.append("%s log:\n%s" % (name, agent.last_log(8)))
        return "\n".join(parts)


def _some_port():
    """Away from the defaults, which a quickstart may use."""
    return 20000 + os.getpid() % 20000


