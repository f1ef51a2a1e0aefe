"""The quickstart's driver as a user runs it, with another fault script."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from bare_training import ROOT
from scenario import BIN

SCRIPT = """
[[fault]]
at_step = 40
kind = "kill_rank"
rank = 1

[[fault]]
at_step = 40
kind = "kill_server"
delay = 0.2
seconds = 1

[[fault]]
at_step = 70
kind = "kill_agent"
node = 0
"""
HALTS = """
[[fault]]
at_step = 30
kind = "exit_rank"
rank = 0
repeat = true
"""
REPORT_KEYS = {
    "run", "steps_completed", "attempts", "wall_seconds", "ettr",
    "mtbf_seconds", "mttr_seconds", "lost_seconds", "incidents",
    "checkpoints", "final_parameters_sha256",
}
INCIDENT_KEYS = {
    "kind", "culprit", "onset_unix", "detected_unix", "detection_seconds",
    "recovered_unix", "recovery_seconds", "steps_lost", "remediation",
    "reason", "evidence",
}


class DriverTest(unittest.TestCase):
    """Starts the driver; the tests are in the classes below."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="steadyrun-e2e-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.report = os.path.join(self.folder, "report.json")

    def start(self, script, *arguments):
        path = os.path.join(self.folder, "faults.toml")
        with open(path, "w") as file:
            file.write(script)
        self.output = open(os.path.join(self.folder, "output"), "w+")
        self.addCleanup(self.output.close)
        return subprocess.Popen(
            [sys.executable, "-m", "quickstart", "--bin-dir", BIN,
             "--work-dir", os.path.join(self.folder, "work"),
             "--faults", path, "--port-base", "23070", *arguments],
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(
                os.path.join(ROOT, part)
                for part in ("deploy/quickstart", "agent/python"))),
            stdout=self.output, stderr=subprocess.STDOUT,
        )

    def text(self):
        self.output.seek(0)
        return self.output.read()

    def left_over(self):
        """Processes that name this test's folder: ranks in what they were
        told by their environment, the others in their command."""
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            text = b""
            for part in ("cmdline", "environ"):
                try:
                    with open("/proc/%s/%s" % (name, part), "rb") as file:
                        text += file.read()
                except OSError:
                    continue
            if self.folder.encode() in text:
                found.append(text[:200])
        return found


class QuickstartTest(DriverTest):
    def test_it_ends_with_a_report_and_equal_hashes(self):
        process = self.start(
            SCRIPT, "--steps", "120", "--exit", "--report", self.report,
            "--nodes", "2", "--ranks-per-node", "1", "--spares", "1",
            "--seed", "3",
        )
        code = process.wait(240)

        text = self.text()
        self.assertEqual(code, 0, text)
        self.assertIn("bit for bit equal", text)
        with open(self.report) as file:
            report = json.load(file)
        self.assertLessEqual(REPORT_KEYS, set(report))
        self.assertEqual(report["steps_completed"], 120)
        crash, = [
            incident for incident in report["incidents"]
            if incident["kind"] == "crash"
        ]
        self.assertLessEqual(INCIDENT_KEYS, set(crash))
        self.assertEqual(crash["culprit"], {"node": "node-1", "rank": 1})
        self.assertEqual(self.left_over(), [])

    def test_a_run_that_halts_is_no_success(self):
        process = self.start(
            HALTS, "--steps", "100", "--exit", "--nodes", "1",
            "--ranks-per-node", "2", "--spares", "0",
        )
        code = process.wait(240)

        self.assertEqual(code, 1, self.text())
        self.assertIn("the run is halted: ", self.text())
        self.assertEqual(self.left_over(), [])

    def test_control_c_leaves_nothing_behind(self):
        process = self.start("", "--steps", "100000", "--nodes", "1")
        deadline = time.monotonic() + 120
        while "running" not in self.text():
            self.assertLess(time.monotonic(), deadline, self.text())
            self.assertIsNone(process.poll(), self.text())
            time.sleep(0.1)
        self.assertGreater(len(self.left_over()), 5)
        process.send_signal(signal.SIGINT)

        self.assertEqual(process.wait(60), 1)
        self.assertIn("ended as asked", self.text())
        self.assertEqual(self.left_over(), [])

    def test_a_wrong_script_is_refused_before_anything_starts(self):
        process = self.start("[[fault]]\nkind = 'kill_rnk'\nat_step = 1\n")

        self.assertEqual(process.wait(60), 2)
        self.assertIn("faults.toml:2:1: unknown kind 'kill_rnk'; did you mean"
                      " 'kill_rank'?", self.text())


class DefaultScriptTest(DriverTest):
    """All kinds in 1,500 steps: minutes."""

    def test_the_default_script(self):
        with open(os.path.join(
            ROOT, "deploy", "quickstart", "default_faults.toml"
        )) as file:
            process = self.start(
                file.read(), "--exit", "--report", self.report
            )
        code = process.wait(1500)

        self.assertEqual(code, 0, self.text())
        self.assertIn("bit for bit equal", self.text())
        self.assertNotIn("never struck", self.text())
        with open(self.report) as file:
            report = json.load(file)
        self.assertEqual(report["steps_completed"], 1500)
        self.assertLessEqual(
            {"crash", "nan", "hang", "node_lost"},
            {incident["kind"] for incident in report["incidents"]},
        )
        self.assertEqual(self.left_over(), [])


if __name__ == "__main__":
    unittest.main()
