"""The demo as a user runs it: what it says strikes is what the server finds.

By hand: STEADYRUN_BIN=build/release/bin python3 -m unittest -v demo_test
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
BIN = pathlib.Path(
    os.environ.get("STEADYRUN_BIN", ROOT / "build/release/bin")).resolve()
STRIKES = re.compile(r"step \d+: (\w+) strikes (?:rank (\d+) on )?(sim-\d+)")


class Demo:
    """One demo and what it has printed so far."""

    def __init__(self, *flags):
        self.process = subprocess.Popen(
            [BIN / "steadyrun", "demo", *flags], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
        self.lines = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        with self.process.stdout as stdout:
            for line in stdout:
                self.lines.append(line)

    def text(self):
        return "".join(self.lines)

    def wait(self, what, condition, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError(f"no {what} within {seconds} s:\n{self.text()}")

    def server(self):
        found = self.wait("server address",
                          lambda: re.search(r"--server (\S+)", self.text()), 20)
        return found.group(1)

    def strike(self, kind, seconds):
        def find():
            for match in STRIKES.finditer(self.text()):
                if match.group(1) == kind:
                    return match
            return None
        match = self.wait(f"strike of {kind}", find, seconds)
        return match.group(3), int(match.group(2) or -1)

    def incident(self, kind, seconds):
        def find():
            done = subprocess.run(
                [BIN / "steadyrun", "--server", self.server(), "incidents",
                 "demo", "-o", "json"], capture_output=True, text=True,
                timeout=20, check=False)
            if done.returncode != 0:
                return None
            for incident in json.loads(done.stdout)["incidents"]:
                if incident["kind"] == kind:
                    return incident
            return None
        return self.wait(f"incident {kind}", find, seconds)

    def end(self):
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=20)
        self.reader.join(timeout=10)
        return code


class DemoTest(unittest.TestCase):

    def check(self, demo, kind, strike_within, found_within):
        node, rank = demo.strike(kind, strike_within)
        incident = demo.incident(kind, found_within)
        self.assertEqual(incident["culprit"]["node"], node)
        self.assertEqual(incident["culprit"]["rank"], rank)
        return incident

    def test_the_tour_begins_and_ends_cleanly(self):
        demo = Demo("--ranks", "64")
        self.addCleanup(demo.process.terminate)
        self.check(demo, "crash", 30, 15)
        view = json.loads(subprocess.run(
            [BIN / "steadyrun", "--server", demo.server(), "status", "demo",
             "-o", "json"], capture_output=True, text=True, timeout=20,
            check=True).stdout)
        self.assertEqual(
            view["spec"]["environment"].get("STEADYRUN_SIMULATED"), "1")
        self.check(demo, "agent_lost", 60, 15)
        directory = re.search(r"(\S+)/server\.log", demo.text()).group(1)
        self.assertTrue(os.path.isdir(directory))
        self.assertEqual(demo.end(), 0, demo.text())
        self.assertFalse(os.path.exists(directory))

    def test_one_fault_alone_and_an_end_by_itself(self):
        demo = Demo("--ranks", "64", "--fault", "node_lost", "--exit-after",
                    "20")
        self.addCleanup(demo.process.terminate)
        self.check(demo, "node_lost", 30, 20)
        self.assertEqual(demo.process.wait(timeout=60), 0, demo.text())

    def test_wrong_usage_is_told(self):
        done = subprocess.run(
            [BIN / "steadyrun", "demo", "--fault", "hank"],
            capture_output=True, text=True, timeout=20, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("did you mean hang?", done.stderr)


if __name__ == "__main__":
    unittest.main()
