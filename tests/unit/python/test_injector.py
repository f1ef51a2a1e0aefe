"""The injector on real processes that write real flight recorders."""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import recorder_file
from recorder_file import ROOT

sys.path.insert(0, os.path.join(ROOT, "deploy", "quickstart"))

from quickstart import fault_script, processes  # noqa: E402
from quickstart.injector import Injector  # noqa: E402
from quickstart.step_clock import StepClock  # noqa: E402

TRAINER = """
import sys, time
import steadyrun
run = steadyrun.init()
for step in range(1, 100000):
    time.sleep(0.005)
    run.step(step, loss=1.0)
"""


class FakeAgent:
    """Remembers what was done to it."""

    def __init__(self):
        self.kills = []
        self.pid = 0

    def kill(self, seconds):
        self.kills.append(seconds)


class Trainers:
    """Two ranks on two nodes; the part of Cluster that the injector uses."""

    def __init__(self, folder):
        self.folder = folder
        self.token = secrets.token_hex(8)
        self.table = processes.ProcessTable(self.token)
        self.agents = {"node-0": FakeAgent(), "node-1": FakeAgent()}
        self.server = FakeAgent()
        self.proxies = {}
        self.is_mounted = False
        self.processes = []

    def start(self, attempt=1):
        for rank in range(2):
            path = os.path.join(
                self.folder, "recorder-%d-%d" % (attempt, rank)
            )
            recorder_file.create(path, rank=rank, world_size=2,
                                 attempt=attempt)
            self.processes.append(subprocess.Popen(
                [sys.executable, "-c", TRAINER],
                env=dict(
                    os.environ, STEADYRUN_RECORDER=path, RANK=str(rank),
                    PYTHONPATH=os.path.join(ROOT, "agent", "python"),
                    STEADYRUN_ATTEMPT=str(attempt),
                    STEADYRUN_RESUME_STEP="-1",
                    **{processes.MARKER: self.token,
                       processes.NODE: "node-%d" % rank},
                ),
            ))

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()


class InjectorTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.trainers = Trainers(self.folder)
        self.addCleanup(self.trainers.stop)
        self.trainers.start()
        self.clock = StepClock(self.trainers.table, "r")
        self.clock.start()
        self.addCleanup(self.clock.stop)

    def inject(self, text):
        injector = Injector(
            fault_script.parse(text), self.trainers, self.clock, "r", 2,
            {"checkpoints": os.path.join(self.folder, "checkpoints"),
             "faults": os.path.join(self.folder, "faults")},
            lambda text: None,
        )
        injector.arm()
        injector.start()
        return injector

    def wait_for(self, is_true, seconds=20):
        deadline = time.monotonic() + seconds
        while not is_true():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.005)

    def states(self):
        """Letters of the ranks' processes."""
        return [
            processes._stat(process.pid)[0]
            for process in self.trainers.processes
        ]

    def test_a_rank_is_killed_at_its_step(self):
        injector = self.inject(
            "[[fault]]\nkind='kill_rank'\nrank=1\nat_step=60\n"
        )
        victim = self.trainers.processes[1]

        self.assertEqual(victim.wait(30), -signal.SIGKILL)
        strike, = injector.strikes
        # The run's step is that of its foremost rank: these two train apart,
        # so the victim's own may be behind. 4 ms between looks, 5 ms a step;
        # slack for a busy machine.
        self.assertGreaterEqual(strike.step, 60)
        self.assertLess(strike.step, 90)
        self.wait_for(lambda: strike.times == 1)
        self.assertIsNone(self.trainers.processes[0].poll())

    def test_a_repeated_fault_strikes_each_attempt_that_comes_there(self):
        injector = self.inject(
            "[[fault]]\nkind='kill_rank'\nrank=0\nat_step=20\nrepeat=true\n"
        )
        strike, = injector.strikes
        self.wait_for(lambda: strike.times == 1)
        self.trainers.stop()
        self.trainers.start(attempt=2)
        self.wait_for(lambda: strike.times == 2)
        self.assertEqual(self.trainers.processes[2].wait(10), -signal.SIGKILL)

    def test_a_fault_written_twice_strikes_two_attempts(self):
        injector = self.inject(
            "[[fault]]\nkind='kill_rank'\nrank=0\nat_step=20\n" * 2
        )
        first, second = injector.strikes
        self.wait_for(lambda: first.times == 1)
        self.trainers.stop()
        self.assertEqual(second.times, 0)
        self.trainers.start(attempt=2)
        self.wait_for(lambda: second.times == 1)
        self.assertEqual(self.trainers.processes[2].wait(10), -signal.SIGKILL)

    def test_a_stopped_rank_goes_on_after_its_seconds(self):
        injector = self.inject(
            "[[fault]]\nkind='stop_rank'\nrank=0\nat_step=5\nseconds=0.3\n"
        )
        self.wait_for(lambda: injector.strikes[0].times == 1)
        self.wait_for(lambda: self.states()[0] == "T")
        self.wait_for(lambda: self.states()[0] != "T")

    def test_a_paused_node_stops_whole_and_wakes_up(self):
        self.inject(
            "[[fault]]\nkind='pause_node'\nnode=1\nat_seconds=0\n"
            "seconds=0.3\n"
        )
        self.wait_for(lambda: self.states()[1] == "T")
        self.assertNotEqual(self.states()[0], "T")
        self.wait_for(lambda: self.states()[1] != "T")

    def test_a_killed_node_takes_its_agent_along(self):
        self.inject(
            "[[fault]]\nkind='kill_node'\nnode='node1'\nat_seconds=0\n"
            "seconds=7\n"
        )
        self.assertEqual(self.trainers.processes[1].wait(20), -signal.SIGKILL)
        self.assertEqual(self.trainers.agents["node-1"].kills, [7])
        self.assertEqual(self.trainers.agents["node-0"].kills, [])

    def test_a_target_without_a_name_is_the_seeds_choice(self):
        names = set()
        for _ in range(3):
            injector = self.inject(
                "[[fault]]\nkind='kill_agent'\nat_seconds=0\n"
            )
            self.wait_for(lambda: injector.strikes[0].times == 1)
            names.add(tuple(
                len(agent.kills) > 0
                for agent in self.trainers.agents.values()
            ))
        self.assertEqual(len(names), 1)

    def test_a_node_that_is_not_there_is_told(self):
        injector = self.inject(
            "[[fault]]\nkind='kill_agent'\nnode=7\nat_seconds=0\n"
        )
        self.wait_for(lambda: injector.strikes[0].error)
        self.assertEqual(
            injector.strikes[0].error,
            "no node '7': there are node-0, node-1",
        )

    def test_the_newest_whole_checkpoint_is_changed(self):
        def save(step, ranks):
            path = os.path.join(
                self.folder, "checkpoints", "attempt-1", "step-%08d" % step
            )
            os.makedirs(path)
            for rank in ranks:
                with open(os.path.join(path, "rank-%d.pt" % rank), "wb") as f:
                    f.write(b"a" * 1000)
            return path

        whole = save(20, (0, 1))
        partial = save(30, (0,))
        injector = self.inject(
            "[[fault]]\nkind='corrupt_checkpoint'\nrank=0\nat_seconds=0\n"
        )
        self.wait_for(lambda: injector.strikes[0].times == 1)

        with open(os.path.join(whole, "rank-0.pt"), "rb") as file:
            data = file.read()
        self.assertEqual(len(data), 1000)
        self.assertEqual(1000 - data.count(b"a"), 16)
        with open(os.path.join(partial, "rank-0.pt"), "rb") as file:
            self.assertEqual(file.read(), b"a" * 1000)

    def test_faults_of_the_training_code_are_files_made_before(self):
        self.inject(
            "[[fault]]\nkind='nan_loss'\nrank=1\nat_step=100000\n"
            "[[fault]]\nkind='exit_rank'\nrank=0\nat_step=99\nrepeat=true\n"
        )
        self.assertEqual(
            sorted(os.listdir(os.path.join(self.folder, "faults"))),
            ["exit_rank.rank0.step99.repeat", "nan_loss.rank1.step100000.1"],
        )


if __name__ == "__main__":
    unittest.main()
