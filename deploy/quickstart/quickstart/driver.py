"""The quickstart itself: bring up, launch, break, watch, report, end."""

import json
import os
import signal
import sys
import tempfile
import time

from quickstart import options as flags
from quickstart import reference
from quickstart.cluster import Cluster, ClusterError
from quickstart.injector import Injector
from quickstart.interpreter import NoTorch, find_torch_python
from quickstart.progress import Progress
from quickstart.service_client import ServiceClient
from quickstart.step_clock import StepClock

RUN = "quickstart"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ENDED = ("completed", "stopped", "halted")
_TEND_SECONDS = 0.05
_REFERENCE_STEPS = 2000  # A longer run is not trained once more to compare.


class Failed(Exception):
    """The quickstart cannot go on; the message says why."""


class Quickstart:
    def __init__(self, options):
        self.options = options
        self.code = 1  # Until the run has done all its steps.
        self.world_size = options.nodes * options.ranks_per_node
        self.python = find_torch_python()
        self.work_dir = os.path.abspath(options.work_dir) if (
            options.work_dir) else tempfile.mkdtemp(prefix="steadyrun-")
        os.makedirs(self.work_dir, exist_ok=True)
        self.checkpoints = os.path.join(self.work_dir, "checkpoints")
        self.fault_files = os.path.join(self.work_dir, "faults")
        self.training = [
            "--steps", str(options.steps), "--seed", str(options.seed),
            "--checkpoint-every", str(options.checkpoint_every),
        ]

    def run(self):
        """Plays the whole; `code` is the exit code from its end on."""
        options = self.options
        small_disk = any(
            fault.kind == "fill_disk" for fault in options.fault_list
        )
        cluster = Cluster(
            options.bin_dir, self.work_dir, options.nodes + options.spares,
            small_disk, options.port_base,
        )
        client = ServiceClient(
            cluster.program("steadyrun"), cluster.grpc_port, cluster.http_port
        )
        with cluster:
            progress = Progress(client, RUN, options.steps)
            clock = StepClock(cluster.table, RUN)
            injector = Injector(
                options.fault_list, cluster, clock, RUN, self.world_size,
                {"checkpoints": self.checkpoints, "faults": self.fault_files},
                progress.say, options.seed,
            )
            try:
                self._play(cluster, client, progress, clock, injector)
            finally:
                clock.stop()
                injector.join()
                progress.stop()

    def _play(self, cluster, client, progress, clock, injector):
        self._introduce(client, progress)
        expected = self.options.nodes + self.options.spares
        cluster.wait_ready(lambda: client.nodes_connected() >= expected)
        injector.arm()
        self._launch(client)
        progress.start()
        clock.start()
        injector.start()
        while progress.phase() not in _ENDED:
            for service in cluster.tend():
                progress.say("%s is started again%s"
                             % (service.name, service.why_started))
            time.sleep(_TEND_SECONDS)
        clock.stop()
        injector.join()
        self._wait_service(cluster, progress)
        progress.stop()
        self.code = 0 if self._conclude(client, progress, injector) else 1
        if not self.options.exit:
            self._stay(cluster, client)

    def _introduce(self, client, progress):
        options = self.options
        progress.say("%d nodes of %d ranks, %d spares, %d steps, %s" % (
            options.nodes, options.ranks_per_node, options.spares,
            options.steps, "%d faults" % len(options.fault_list)
            if options.fault_list else "no faults"))
        progress.say("status page %s" % client.page)
        progress.say("files in %s" % self.work_dir)

    def _launch(self, client):
        options = self.options
        words = [
            "run", "--name", RUN, "--nodes", str(options.nodes),
            "--ranks-per-node", str(options.ranks_per_node),
            "--steps", str(options.steps),
            "--checkpoint-dir", self.checkpoints,
            "--env", "STEADYRUN_QUICKSTART_FAULTS=" + self.fault_files,
        ]
        if options.policy:
            words += ["--policy", options.policy]
        words += ["--", self.python, reference.TRAIN, *self.training]
        done = client.command(*words)
        if done.returncode:
            raise Failed("the run was not accepted: %s"
                         % (done.stderr or done.stdout).strip())

    def _wait_service(self, cluster, progress, seconds=30):
        """A fault may have left the service down: it is needed to report."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            cluster.tend()
            if progress.client.run_view(RUN) is not None:
                return
            time.sleep(_TEND_SECONDS)
        raise Failed("the service did not come back for its report")

    # --- The end.

    def _conclude(self, client, progress, injector):
        """Prints the report and both hashes; True if all went well."""
        report = client.query("report", RUN)
        if report is None:
            raise Failed("the service gives no report")
        text = client.command("report", RUN).stdout
        for strike in injector.waiting():
            progress.say("fault %s never struck%s" % (
                strike.fault.describe(),
                ": " + strike.error if strike.error else ""))
        print("\n" + text)
        if self.options.report:
            with open(self.options.report, "w") as file:
                json.dump(report, file, indent=2)
                file.write("\n")
        is_done = report.get("steps_completed", 0) >= self.options.steps
        phase = progress.phase()
        if phase != "completed":
            print("the run is %s: %s" % (
                phase, (progress.view or {}).get("phase_reason", "")))
            return False
        return self._compare(report, progress) and is_done

    def _compare(self, report, progress):
        """Both hashes; False if they differ."""
        found = report.get("final_parameters_sha256", "")
        print("parameters of this run       %s" % found)
        options = self.options
        if options.no_reference or not options.fault_list:
            return True
        if options.steps > _REFERENCE_STEPS:
            print("parameters of an unbroken run: not trained, since it has"
                  " more than %d steps" % _REFERENCE_STEPS)
            return True
        progress.say("training once more, unbroken, to compare")
        try:
            expected, is_cached = reference.reference_sha256(
                self.python, self.training, self.world_size
            )
        except reference.ReferenceFailed as error:
            print("the unbroken training failed:\n%s" % error)
            return False
        print("parameters of an unbroken run %s%s" % (
            expected, " (trained earlier)" if is_cached else ""))
        is_equal = found == expected
        print("bit for bit equal" if is_equal else "THE PARAMETERS DIFFER")
        return is_equal

    def _stay(self, cluster, client):
        print("\nstatus page %s (Ctrl-C ends)" % client.page, flush=True)
        while True:
            cluster.tend()
            time.sleep(_TEND_SECONDS)


class _Stopped(Exception):
    """A signal asked to end."""


def _on_signal(number, frame):
    # Once: a second Ctrl-C must not cut the clean end short.
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise _Stopped(number)


def main(arguments):
    options = flags.parse(arguments)
    if options.check:
        return 0
    for number in _SIGNALS:
        signal.signal(number, _on_signal)
    quickstart = None
    try:
        quickstart = Quickstart(options)
        quickstart.run()
    except _Stopped:
        print("\nended as asked", flush=True)
    except (Failed, ClusterError, NoTorch) as error:
        print("quickstart: %s" % error, file=sys.stderr)
        return 1
    return quickstart.code if quickstart else 1
